"""Clusters whose workers are jobs of a queue (dask-jobqueue) or pods of the Dask operator (dask-kubernetes)."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from shlex import quote
from typing import Any

import yaml
from distributed.deploy.spec import ProcessInterface
from distributed.security import Security

from v50calib.config.runtime import RuntimeConfig
from v50calib.errors import ConfigError
from v50calib.untrusted.yaml_text import load_yaml

_CLASSES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster"}
#: what the queues call the account of a job
_ACCOUNT = {"slurm": "account", "pbs": "account", "lsf": "project", "sge": "project"}

#: characters of a queue's answer that are shown
SAID = 300
#: what hands a job to the queue
SUBMIT = {"slurm": "sbatch", "pbs": "qsub", "lsf": "bsub", "sge": "qsub"}


def refuse_absent_queue(runtime: RuntimeConfig) -> None:
    """Raises ConfigError where this machine cannot hand jobs to the queue of `runtime`: dask-jobqueue would try it for each of them."""
    command = SUBMIT.get(runtime.scheduler)
    if command is not None and shutil.which(command) is None:
        raise ConfigError(
            f"runtime.scheduler={runtime.scheduler} hands jobs over with {command}, which is not on the PATH here: start the run "
            "where it is (a login node of the cluster), or use runtime.scheduler=local"
        )


def queue_arguments(runtime: RuntimeConfig, certificates: Security | None = None) -> dict[str, Any]:
    """Keyword arguments of the dask-jobqueue cluster that `runtime` asks for."""
    from v50calib.runtime.environment import queue_environment

    queue = runtime.queue
    exports = [f"export {name}={quote(value)}" for name, value in queue_environment().items()]
    shown = runtime.dashboard != "off"
    arguments: dict[str, Any] = {
        "cores": queue.cores,
        "processes": queue.processes,
        "memory": queue.memory,
        "walltime": queue.walltime,
        "queue": queue.name,
        _ACCOUNT[runtime.scheduler]: queue.account,
        "interface": queue.interface,
        "job_extra_directives": list(queue.directives),
        "job_directives_skip": list(queue.skip_directives),
        "job_script_prologue": [*exports, *queue.prologue],
        "log_directory": queue.log_directory,
        "local_directory": queue.local_directory,
        "death_timeout": str(int(max(60, runtime.worker_timeout_s))),
        "scheduler_options": {"dashboard": shown, "dashboard_address": runtime.dashboard if shown else None},
    }
    if queue.python is not None:
        arguments["python"] = queue.python
    if certificates is not None:
        # certificates of this run alone are files of mode 600 where the jobs start, removed at the end
        arguments |= {"security": certificates, "protocol": "tls", "shared_temp_directory": str(Path.cwd())}
    return {name: value for name, value in arguments.items() if value is not None}


def queue_cluster(runtime: RuntimeConfig, certificates: Security | None) -> Any:
    """A cluster of slurm, pbs, lsf or sge jobs. Raises ConfigError: package missing, number of workers not given."""
    module = _optional("dask_jobqueue", "cluster", runtime.scheduler)
    if runtime.num_workers is None and not runtime.adaptive.enabled:
        raise ConfigError(
            f"runtime.scheduler={runtime.scheduler} needs runtime.num_workers=N (workers to ask the queue for) "
            "or runtime.adaptive.enabled=true"
        )
    refuse_absent_queue(runtime)
    kind = getattr(module, _CLASSES[runtime.scheduler])
    refused: list[str] = []
    cluster = kind(job_cls=noting(kind.job_cls, refused), **queue_arguments(runtime, certificates))
    cluster.refused_jobs = refused
    if not runtime.adaptive.enabled:
        cluster.scale(runtime.num_workers)
    return cluster


def noting(job: Any, refused: list[str]) -> Any:
    """A class of jobs like dask-jobqueue's `job`; what the queue says where it refuses one is added to `refused`, and nothing is raised.

    Raised, it would be the traceback of a task that nobody waits for, one for each job, and the run would wait for workers all the same.
    """

    class NotingJob(job):  # type: ignore[misc]
        async def start(self) -> None:
            try:
                await super().start()
            except (RuntimeError, ValueError, OSError) as exc:
                refused.append(said(exc))
                await ProcessInterface.start(self)

    return NotingJob


def said(error: Exception) -> str:
    r"""What a submit command said, from dask-jobqueue's exception, in one line.

    >>> said(RuntimeError("Command exited with non-zero exit code.\nExit code: 1\nCommand:\nsbatch a\nstdout:\n\nstderr:\nno account\n\n"))
    'no account'
    """
    text = str(error)
    shown = [part.split("stderr:\n")[0] for part in (text.partition("stderr:\n")[2], text.partition("stdout:\n")[2]) if part.strip()]
    words = " ".join((next((part for part in shown if part.strip()), "") or text).split())
    return words if len(words) <= SAID else f"{words[:SAID]} …"


def refusal(cluster: Any, runtime: RuntimeConfig) -> str:
    """What the queue said of jobs that it has refused, in one sentence; empty where it has taken all."""
    refused: list[str] = getattr(cluster, "refused_jobs", [])
    if not refused:
        return ""
    asked = len(getattr(cluster, "worker_spec", ())) or len(refused)
    return f"{SUBMIT.get(runtime.scheduler, 'the queue')} refused {len(refused)} of {max(asked, len(refused))} jobs: {refused[0]}"


def all_refused(cluster: Any) -> bool:
    """Whether the queue has refused every job that was asked for."""
    refused: list[str] = getattr(cluster, "refused_jobs", [])
    return bool(refused) and len(refused) >= len(getattr(cluster, "worker_spec", ()))


def kubernetes_cluster(runtime: RuntimeConfig) -> Any:
    """A cluster of pods. Raises ConfigError: package missing, number of workers not given, spec not readable."""
    module = _optional("dask_kubernetes.operator", "kubernetes", runtime.scheduler)
    if runtime.num_workers is None and not runtime.adaptive.enabled:
        raise ConfigError("runtime.scheduler=kubernetes needs runtime.num_workers=N (pods) or runtime.adaptive.enabled=true")
    return module.KubeCluster(**kubernetes_arguments(runtime))


def kubernetes_arguments(runtime: RuntimeConfig) -> dict[str, Any]:
    """Keyword arguments of the KubeCluster that `runtime` asks for. Raises ConfigError where the spec cannot be read."""
    pods = runtime.kubernetes
    if pods.spec is not None:
        try:
            spec = load_yaml(Path(pods.spec).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as exc:
            raise ConfigError(f"cannot read runtime.kubernetes.spec={pods.spec} ({exc}): give the YAML of a DaskCluster") from exc
        return {"custom_cluster_spec": spec, "namespace": pods.namespace, "n_workers": None}
    from v50calib.runtime.environment import WORKER_ENVIRONMENT

    size = {"cpu": pods.cpu, "memory": pods.memory}
    return {
        "name": pods.name,
        "namespace": pods.namespace,
        "image": pods.image,
        "n_workers": runtime.num_workers if not runtime.adaptive.enabled else runtime.adaptive.minimum,
        "resources": {"requests": size, "limits": size},
        "env": dict(WORKER_ENVIRONMENT),
        "worker_command": ["dask", "worker", "--nthreads", str(runtime.threads_per_worker)],
        "quiet": True,
    }


def _optional(name: str, extra: str, scheduler: str) -> Any:
    try:
        return import_module(name)
    except ImportError as exc:
        raise ConfigError(
            f"runtime.scheduler={scheduler} needs the package {name.partition('.')[0].replace('_', '-')}, which is not installed: "
            f"pip install 'v50calib[{extra}]', or use runtime.scheduler=local"
        ) from exc
