"""A local S3 server (moto) as a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from s3_bucket import SECRET

HERE = Path(__file__).resolve().parents[2]
#: s in which the server starts; a second or two, but its thousand modules take minutes the first time on a machine that is busy
START_S = 400.0


def moto_server() -> str:
    """The program, from $V50CALIB_MOTO, .venv-moto or the path; skips where there is none."""
    known = [os.environ.get("V50CALIB_MOTO", ""), str(HERE / ".venv-moto" / "bin" / "moto_server"), shutil.which("moto_server") or ""]
    found = next((program for program in known if program and Path(program).is_file()), None)
    if found is None:
        pytest.skip("no S3 server to test against: run 'bash scripts/moto.sh', or set V50CALIB_MOTO to a moto_server")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running_moto(folder: Path) -> Iterator[str]:
    """URL of a server on loopback; its log goes to `folder`."""
    pytest.importorskip("obstore")
    port = free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([moto_server(), "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        try:
            until = time.monotonic() + START_S
            while not _listens(port):
                assert process.poll() is None, "moto_server ended"
                assert time.monotonic() < until, f"moto_server does not listen after {START_S:g} s"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def access(endpoint: str) -> dict[str, str]:
    """Credentials and endpoint as environment variables, where they belong."""
    return {
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
    }  # fmt: skip


def make_bucket(endpoint: str, name: str) -> None:
    import urllib.request

    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT"), timeout=20) as answer:
        assert answer.status == 200
