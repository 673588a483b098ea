"""Config of `runtime`: where and how a run is executed. Nothing here changes a number of a product."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from v50calib.schema import CHUNK_FRAMES
from v50calib.stages.config import Section

#: schedulers by name; a running one is given by its address
HERE = ("auto", "local", "threads", "sync")
QUEUES = ("slurm", "pbs", "lsf", "sge")
SCHEDULERS = (*HERE, *QUEUES, "kubernetes")
_ADDRESS = re.compile(r"(?:tcp|tls)://[^\s/@]+:\d+")
_WALLTIME = r"^(?:\d+-)?\d{1,3}:\d{2}(?::\d{2})?$"
_SIZE = r"^\d+(?:\.\d+)?\s*(?:[kMGT]i?B|B)$"


#: as the documentation of chunk_pairs says them
_DEFAULT_PAIRS = ", ".join(f"{frames // 2} ({name})" for name, frames in CHUNK_FRAMES.items())


class AdaptiveConfig(Section):
    """Number of workers that follows the work waiting."""

    enabled: bool = Field(default=False, description="the number of workers follows the work waiting")
    minimum: int = Field(default=1, ge=0, description="workers that stay")
    maximum: int | None = Field(default=None, ge=1, description="most workers; null: num_workers")

    @model_validator(mode="after")
    def _bounds(self) -> AdaptiveConfig:
        if self.maximum is not None and self.maximum < self.minimum:
            raise ValueError(f"adaptive.maximum={self.maximum} is below adaptive.minimum={self.minimum}: raise the one or lower the other")
        return self


class QueueConfig(Section):
    """One batch job of slurm, pbs, lsf or sge, whose worker processes share `cores` and `memory`."""

    name: str | None = Field(default=None, description="queue or partition; null: the site's default")
    account: str | None = Field(default=None, description="account or project that pays")
    walltime: str = Field(
        default="02:00:00",
        pattern=_WALLTIME,
        examples=["02:00:00", "1-12:00:00"],
        description="time limit of a job; LSF: hours and minutes",
    )
    cores: int = Field(default=1, ge=1, description="processor cores of a job")
    processes: int = Field(default=1, ge=1, description="worker processes of a job; cores / processes threads each")
    memory: str = Field(default="4GB", pattern=_SIZE, examples=["4GB", "900MiB"], description="memory of a job")
    interface: str | None = Field(default=None, description="network interface that the workers reach the driver by")
    directives: list[str] = Field(default=[], description="further lines of directives, without their mark")
    skip_directives: list[str] = Field(default=[], description="directives to leave out")
    prologue: list[str] = Field(default=[], repr=False, description="shell lines before the worker starts")
    log_directory: str | None = Field(default=None, description="directory of the jobs' output")
    local_directory: str | None = Field(default=None, description="scratch directory of the workers")
    python: str | None = Field(default=None, description="interpreter on the nodes; null: this one")

    @model_validator(mode="after")
    def _shares(self) -> QueueConfig:
        if self.cores % self.processes:
            raise ValueError(f"queue.cores={self.cores} cannot be shared by queue.processes={self.processes}: give a multiple")
        return self


class KubernetesConfig(Section):
    """Pods of the Dask operator."""

    name: str = Field(default="v50calib", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", description="name of the cluster")
    namespace: str | None = Field(default=None, description="namespace of the pods; null: that of the current context")
    image: str = Field(default="v50calib:latest", description="container image with v50calib in it")
    cpu: str = Field(default="1", description="processors of a pod")
    memory: str = Field(default="4Gi", description="memory of a pod")
    spec: str | None = Field(default=None, description="YAML file of a DaskCluster, used instead of image, cpu and memory")


class TlsConfig(Section):
    """Who may speak to scheduler and workers. ca, cert, key: files for tls:// and for clusters that are started; all three or none."""

    ca: str | None = Field(default=None, repr=False, description="PEM file of the authority")
    cert: str | None = Field(default=None, repr=False, description="PEM file of the certificate")
    key: str | None = Field(default=None, repr=False, description="PEM file of the private key")
    temporary: bool = Field(
        default=True,
        description="without files, local and the queues use a certificate of this run alone; false: any user may run code in workers",
    )

    @model_validator(mode="after")
    def _all(self) -> TlsConfig:
        given = [name for name in ("ca", "cert", "key") if getattr(self, name) is not None]
        if given and len(given) < 3:
            missing = sorted({"ca", "cert", "key"} - set(given))
            raise ValueError(f"tls needs ca, cert and key; {', '.join(missing)} not given: give all three or none")
        return self

    @property
    def given(self) -> bool:
        return self.ca is not None


class RuntimeConfig(Section):
    """Where tasks run, how many at once, and what is done when something fails."""

    scheduler: str = Field(
        default="auto",
        description="auto, local, threads, sync, slurm, pbs, lsf, sge, kubernetes, tcp://HOST:PORT, tls://HOST:PORT; see how-to/cluster.md",
    )
    num_workers: int | None = Field(default=None, ge=1, description="worker processes; null: one for each core of this machine")
    threads_per_worker: int = Field(default=1, ge=1, description="threads in each worker process")
    memory_limit: str = Field(default="auto", description="memory of a worker process: auto, or a size such as 4GB")
    chunk_pairs: int | None = Field(
        default=None,
        ge=1,
        description=f"pairs in a time chunk; null: {_DEFAULT_PAIRS}, about 10 MB of frames of another detector",
    )
    retries: int = Field(default=2, ge=0, description="further attempts at a visit whose failure may pass")
    retry_wait_s: float = Field(default=1.0, ge=0, description="s until the first further attempt; doubled each time, at most 60")
    failures_alike: int | None = Field(
        default=20, ge=2, description="visits in a row that fail for one reason, none calibrated between, until the run stops; null: never"
    )
    allowed_failures: int = Field(default=2, ge=0, description="deaths of workers that Dask lets a task survive")
    worker_timeout_s: float = Field(default=300.0, gt=0, description="s without any worker until the run stops")
    comm_timeout_s: float = Field(default=30.0, gt=0, description="s for a connection to the scheduler")
    dashboard: str | Literal["off"] = Field(default="127.0.0.1:0", description="address of Dask's dashboard, or off")
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
    def processes(self) -> RuntimeConfig:
        """The same with worker processes of this machine where nothing is chosen yet (`auto`)."""
        return self.model_copy(update={"scheduler": "local"}) if self.scheduler == "auto" else self

    @property
    def is_address(self) -> bool:
        return "://" in self.scheduler
