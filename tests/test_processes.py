"""Workers of `ingest` and `simulate` end with the process that started them; lines that nobody reads end nothing."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from v50calib.cli.output import Forgiving, forgiving
from v50calib.errors import RunInterruptedError
from v50calib.io.storage.commit import is_committed
from v50calib.processes import interruptible

PROGRAM = [sys.executable, "-c", "from v50calib.cli.main import main; main()"]


def until(true: Callable[[], object], seconds: float = 60) -> bool:
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        if true():
            return True
        time.sleep(0.05)
    return False


def descendants(pid: int) -> list[psutil.Process]:
    """Worker processes, without multiprocessing's resource tracker, which ends by itself."""
    try:
        return [p for p in psutil.Process(pid).children(recursive=True) if "resource_tracker" not in " ".join(p.cmdline())]
    except psutil.NoSuchProcess:
        return []


def at_work(folder: Path, pattern: str) -> Callable[[], bool]:
    return lambda: any(folder.rglob(pattern))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("command", ["simulate", "ingest"])
def test_no_worker_outlives_its_parent(dataset: Path, tmp_path: Path, command: str, number: signal.Signals) -> None:
    if command == "simulate":
        words, started = [str(tmp_path / "data"), "--planets", "6", "--frames-fraction", "0.3"], at_work(tmp_path, "*signal*")
    else:
        words, started = [str(dataset), str(tmp_path / "raw.zarr")], at_work(tmp_path, "*.tmp/*")
    process = subprocess.Popen([*PROGRAM, command, *words, "--workers", "2"], stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert until(lambda: started() and descendants(process.pid)), "no work was seen"
        workers = descendants(process.pid)
        process.send_signal(number)
        said = process.communicate(timeout=30)[1]
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), said
        assert until(lambda: not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers), 5)
        if number != signal.SIGKILL:
            assert f"stopped by {number.name}" in said
            assert not [p for p in tmp_path.rglob(".*") if p.name.endswith((".tmp", ".partial"))]
    finally:
        process.kill()
        process.wait()


def test_the_watcher_ends_a_worker_where_the_kernel_does_not(tmp_path: Path) -> None:
    """Without PR_SET_PDEATHSIG (not Linux): a parent that is gone is seen by its number."""
    child = (
        "import sys, time, v50calib.processes as p\n"
        "sys.platform = 'other'\n"
        "p.LOOK_S = 0.1\n"
        "import os\n"
        "p.tie_to_parent(os.getppid())\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", parent])
    assert until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    process.kill()
    process.wait()
    assert until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 10)


def test_a_signal_is_raised_once_and_the_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def body() -> None:
        with interruptible("run it again"):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    with pytest.raises(RunInterruptedError, match="stopped by SIGTERM; run it again") as caught:
        body()
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


# output


def shell(line: str) -> int:
    return subprocess.run(["bash", "-c", line], check=False, timeout=240).returncode


@pytest.mark.parametrize(
    "tail", ["2>/dev/full >/dev/full", "2>&1 | head -1; exit ${PIPESTATUS[0]}", "2>&- >&-"], ids=["full", "head", "closed"]
)
def test_a_run_goes_on_without_a_reader(dataset: Path, tmp_path: Path, tail: str) -> None:
    words = f"calibrate --config-name calib/fast --data {dataset} --out {tmp_path}/r --scheduler sync calib.photometry.instrument.name=FGS1"
    assert shell(f"'{sys.executable}' -c 'from v50calib.cli.main import main; main()' {words} {tail}") == 0
    assert sum(is_committed(p) for p in (tmp_path / "r" / "calibrated.zarr").glob("*/*/*")) == 3


def test_simulate_goes_on_without_a_reader(tmp_path: Path) -> None:
    words = f"simulate {tmp_path}/data --planets 2 --frames-fraction 0.002"
    line = f"'{sys.executable}' -c 'from v50calib.cli.main import main; main()' {words} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}"
    assert shell(line) == 0
    assert (tmp_path / "data" / "truth.json").is_file()


def test_results_that_cannot_be_written_are_an_error(dataset: Path) -> None:
    """What is printed to be read by a program may not be dropped in silence."""
    line = f"'{sys.executable}' -c 'from v50calib.cli.main import main; main()' plan --data {dataset} --json > /dev/full 2>/dev/null"
    assert shell(line) != 0


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_broken_stream_drops_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Forgiving(Broken())
    assert stream.write("a line") == 6
    stream.flush()
    monkeypatch.setattr(sys, "stderr", Broken())
    with forgiving("stderr"), forgiving("stderr"):
        print("a line", file=sys.stderr, flush=True)
