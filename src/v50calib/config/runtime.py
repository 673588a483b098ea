"""`runtime.*`: where and how a run is executed. Nothing here changes a number of a product."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from v50calib.stages.config import Section

#: schedulers by name; a running one is given by its address
HERE = ("local", "threads", "sync")
QUEUES = ("slurm", "pbs", "lsf", "sge")
SCHEDULERS = (*HERE, *QUEUES, "kubernetes")
_ADDRESS = re.compile(r"(?:tcp|tls)://[^\s/@]+:\d+")
_WALLTIME = r"^(?:\d+-)?\d{1,3}:\d{2}(?::\d{2})?$"
_SIZE = r"^\d+(?:\.\d+)?\s*(?:[kMGT]i?B|B)$"


class AdaptiveConfig(Section):
    """Number of workers that follows the work waiting."""

    enabled: bool = False
    minimum: int = Field(default=1, ge=0)
    maximum: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _bounds(self) -> AdaptiveConfig:
        if self.maximum is not None and self.maximum < self.minimum:
            raise ValueError(f"adaptive.maximum={self.maximum} is below adaptive.minimum={self.minimum}")
        return self


class QueueConfig(Section):
    """One batch job of slurm, pbs, lsf or sge: `cores` and `memory` are of the job, shared by its worker processes."""

    name: str | None = None
    account: str | None = None
    walltime: str = Field(default="02:00:00", pattern=_WALLTIME)
    cores: int = Field(default=1, ge=1)
    processes: int = Field(default=1, ge=1)
    memory: str = Field(default="4GB", pattern=_SIZE)
    interface: str | None = None
    directives: list[str] = []
    skip_directives: list[str] = []
    prologue: list[str] = Field(default=[], repr=False)
    log_directory: str | None = None
    local_directory: str | None = None
    python: str | None = None

    @model_validator(mode="after")
    def _shares(self) -> QueueConfig:
        if self.cores % self.processes:
            raise ValueError(f"queue.cores={self.cores} cannot be shared by queue.processes={self.processes}: give a multiple")
        return self


class KubernetesConfig(Section):
    """Pods of the Dask operator."""

    name: str = Field(default="v50calib", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    namespace: str | None = None
    image: str = "v50calib:latest"
    cpu: str = "1"
    memory: str = "4Gi"
    spec: str | None = None


class TlsConfig(Section):
    """Files (PEM) for tls:// and for clusters that are started with encryption; all three or none."""

    ca: str | None = Field(default=None, repr=False)
    cert: str | None = Field(default=None, repr=False)
    key: str | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _all(self) -> TlsConfig:
        given = [name for name in ("ca", "cert", "key") if getattr(self, name) is not None]
        if given and len(given) < 3:
            missing = sorted({"ca", "cert", "key"} - set(given))
            raise ValueError(f"tls needs ca, cert and key; {', '.join(missing)} not given")
        return self

    @property
    def given(self) -> bool:
        return self.ca is not None


class RuntimeConfig(Section):
    """scheduler: where tasks run; the other keys size it, and say what is done when something fails."""

    scheduler: str = "local"
    num_workers: int | None = Field(default=None, ge=1)
    threads_per_worker: int = Field(default=1, ge=1)
    memory_limit: str = "auto"
    chunk_pairs: int | None = Field(default=None, ge=1)
    retries: int = Field(default=2, ge=0)
    retry_wait_s: float = Field(default=1.0, ge=0)
    allowed_failures: int = Field(default=2, ge=0)
    worker_timeout_s: float = Field(default=300.0, gt=0)
    comm_timeout_s: float = Field(default=30.0, gt=0)
    dashboard: str | Literal["off"] = "127.0.0.1:0"
    adaptive: AdaptiveConfig = AdaptiveConfig()
    queue: QueueConfig = QueueConfig()
    kubernetes: KubernetesConfig = KubernetesConfig()
    tls: TlsConfig = TlsConfig()

    @field_validator("scheduler")
    @classmethod
    def _known_scheduler(cls, value: str) -> str:
        if value in SCHEDULERS or _ADDRESS.fullmatch(value):
            return value
        raise ValueError(f"scheduler '{value}' is none of {', '.join(SCHEDULERS)}, tcp://HOST:PORT, tls://HOST:PORT")

    @field_validator("memory_limit")
    @classmethod
    def _known_size(cls, value: str) -> str:
        if value == "auto" or re.fullmatch(_SIZE, value):
            return value
        raise ValueError(f"memory_limit '{value}' is no size: write auto, or a number with its unit, e.g. 4GB or 900MiB")

    @model_validator(mode="after")
    def _encrypted(self) -> RuntimeConfig:
        if self.scheduler.startswith("tls://") and not self.tls.given:
            raise ValueError(f"scheduler {self.scheduler} needs the files runtime.tls.ca, runtime.tls.cert and runtime.tls.key")
        if self.scheduler.startswith("tcp://") and self.tls.given:
            raise ValueError(f"scheduler {self.scheduler} is not encrypted, but runtime.tls is given: write tls://, or leave tls out")
        return self

    @property
    def is_address(self) -> bool:
        return "://" in self.scheduler
