"""Compiled kernels that are cut or overwritten: compiled again, as if there were none; doctor says so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from v50calib.runtime.doctor import _numba_cache
from v50calib.runtime.environment import KernelCache, first_compilation
from v50calib.safety.compiled import damaged_files

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "another_kind": lambda content: b"\x80\x04N.",
}
NAMES = [f"{kind}_{ending}" for kind in DAMAGE for ending in ("nbi", "nbc")]
#: a kernel for each damage
KERNEL = "from v50calib.kernels.compiler import nb\n\n@nb.njit(cache=True)\ndef twice(x):\n    return 2 * x\n"
CALLED = (
    "import importlib, sys\nfor name in sys.argv[1:]:\n    kernel = importlib.import_module(name).twice\n"
    "    print(name, kernel(21), sum(kernel.stats.cache_hits.values()))\n"
)


def call(folder: Path) -> dict[str, tuple[str, str]]:
    """(result, loads from the cache) of each kernel in a new process."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", CALLED, *NAMES], env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert (done.stderr, done.returncode) == ("", 0)
    return {name: (result, hits) for name, result, hits in map(str.split, done.stdout.splitlines())}


def test_what_is_damaged_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(KERNEL)
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    assert call(tmp_path) == dict.fromkeys(NAMES, ("42", "0"))
    assert damaged_files(cache) == []
    for name in NAMES:
        kind, _, ending = name.rpartition("_")
        (path,) = cache.rglob(f"{name}.*.{ending}")
        path.write_bytes(DAMAGE[kind](path.read_bytes()))
    assert len(damaged_files(cache)) == 6
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    told = _numba_cache(KernelCache(str(next(cache.iterdir())), ""))
    assert (told.state, told.found[:36]) == ("note", "6 of the compiled kernels are cut (/")
    assert told.state == "note" or "writable by" in told.found
    assert call(tmp_path) == dict.fromkeys(NAMES, ("42", "0"))
    # and what was written over it is good
    assert call(tmp_path) == dict.fromkeys(NAMES, ("42", "1"))
    assert damaged_files(cache) == []


def test_an_empty_cache_is_told_before_the_first_visit_and_by_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    (folder / "kernels_1").mkdir(parents=True)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
    assert first_compilation().startswith(f"no kernel is compiled yet ({folder} is empty)")
    assert "one to several minutes" in first_compilation()
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    told = _numba_cache(KernelCache(str(folder / "kernels_1"), ""))
    assert (told.state, told.found.startswith(f"{folder} is empty: the first visit compiles")) == ("note", True)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
    (folder / "kernels_1" / "f-1.py311.1.nbc").write_bytes(b"code.")
    assert first_compilation() == ""
