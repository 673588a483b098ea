"""Limits of control groups, from trees of files as Slurm, systemd and containers make them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from v50calib.io.storage import machine
from v50calib.io.storage.machine import cores, cpu_quotas, machine_id, memory_limit, memory_limits

GB = 10**9
V2 = "31 23 0:28 {inside} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw"
V1 = (
    "35 31 0:32 {inside} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 31 0:29 {inside} /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct"
)
UNLIMITED = 9223372036854771712


def tree(root: Path, mounts: str, groups: str, files: dict[str, object]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(f"22 1 8:1 / / rw - ext4 /dev/sda rw\n{mounts}\n")
    (root / "proc/self/cgroup").write_text(groups + "\n")
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def test_slurm_with_version_2(tmp_path: Path) -> None:
    """The step has no limit of its own, the job has 450 MB, the root has no file."""
    job = "system.slice/slurmstepd.scope/job_7"
    root = tree(
        tmp_path,
        V2.format(inside="/"),
        f"0::/{job}/step_0/user/task_0",
        {
            f"{job}/step_0/user/task_0/memory.max": "max",
            f"{job}/step_0/memory.max": 2 * GB,
            f"{job}/memory.max": 450_000_000,
            f"{job}/memory.high": "max",
            f"{job}/cpu.max": "150000 100000",
            "system.slice/memory.max": 23 * GB,
            "other/memory.max": 5,
        },
    )
    assert memory_limits(root) == (2 * GB, 450_000_000, 23 * GB)
    assert cpu_quotas(root) == (1.5,)


def test_slurm_with_version_1(tmp_path: Path) -> None:
    job = "slurm/uid_1000/job_7"
    root = tree(
        tmp_path,
        V1.format(inside="/"),
        f"4:memory:/{job}/step_0\n2:cpu,cpuacct:/{job}\n0::/",
        {
            f"memory/{job}/step_0/memory.limit_in_bytes": UNLIMITED,
            f"memory/{job}/memory.limit_in_bytes": 450_000_000,
            "memory/memory.limit_in_bytes": UNLIMITED,
            f"cpu/{job}/cpu.cfs_quota_us": 300_000,
            f"cpu/{job}/cpu.cfs_period_us": 100_000,
            "cpu/cpu.cfs_quota_us": -1,
            "cpu/cpu.cfs_period_us": 100_000,
        },
    )
    assert min(memory_limits(root)) == 450_000_000
    assert cpu_quotas(root) == (3.0,)


@pytest.mark.parametrize(
    ("inside", "group"),
    [("/", "/"), ("/docker/abc", "/docker/abc"), ("/docker/abc", "/"), ("/docker/abc", "/../elsewhere")],
    ids=["own namespace", "host's path", "own path", "outside"],
)
def test_containers(tmp_path: Path, inside: str, group: str) -> None:
    """The mount begins at the container's own group, whatever its path is called from inside."""
    root = tree(tmp_path, V2.format(inside=inside), f"0::{group}", {"memory.max": 3 * GB, "cpu.max": "max 100000"})
    assert memory_limits(root) == (3 * GB,)
    assert cpu_quotas(root) == ()


def test_both_versions_at_once(tmp_path: Path) -> None:
    """Memory of version 1 beside a hierarchy of version 2 without controllers."""
    mounts = V1.format(inside="/") + "\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
    root = tree(tmp_path, mounts, "4:memory:/a/b\n1:cpu:/\n0::/", {"memory/a/memory.limit_in_bytes": GB, "unified/cgroup.procs": ""})
    assert memory_limits(root) == (GB,)


def test_machines_without_control_groups(tmp_path: Path) -> None:
    assert memory_limits(tmp_path) == ()
    assert cpu_quotas(tmp_path) == ()


def test_the_narrowest_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = memory_limit()
    monkeypatch.setattr(machine, "memory_limits", lambda: (450_000_000, 10**15))
    assert memory_limit() == 450_000_000 < whole
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "cpu_quotas", lambda: (12.0, 2.5))
    assert cores() == 3
    monkeypatch.setattr(machine, "cpu_quotas", lambda: (0.2,))
    assert cores() == 1
    monkeypatch.setattr(machine, "cpu_quotas", lambda: ())
    assert cores() == 8


def test_a_machine_has_a_name() -> None:
    assert machine_id() == machine_id()
    assert machine_id()
