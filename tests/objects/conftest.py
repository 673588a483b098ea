"""A local S3 server (moto) for the session, a bucket a test, and the simulated dataset in it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_bucket import SECRET, upload

from v50calib.io.place import ObjectPath, _store, place

HERE = Path(__file__).resolve().parents[2]


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


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the server, on loopback."""
    pytest.importorskip("obstore")
    port = free_port()
    log = (tmp_path_factory.mktemp("moto") / "log").open("w")
    process = subprocess.Popen([moto_server(), "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "moto_server ended"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.fixture(scope="session")
def session_bucket(endpoint: str) -> Iterator[ObjectPath]:
    """Credentials in the environment, where they belong, and a bucket."""
    given = {
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    _store.cache_clear()
    import urllib.request

    name = f"b{uuid.uuid4().hex[:12]}"
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT"), timeout=20) as answer:
        assert answer.status == 200
    bucket = place(f"s3://{name}")
    assert isinstance(bucket, ObjectPath)
    yield bucket
    _store.cache_clear()
    for key, value in before.items():
        os.environ.pop(key) if value is None else os.environ.update({key: value})


@pytest.fixture
def bucket(session_bucket: ObjectPath) -> ObjectPath:
    """An empty prefix of its own."""
    return session_bucket / uuid.uuid4().hex[:12]


@pytest.fixture(scope="session")
def remote(dataset: Path, session_bucket: ObjectPath) -> ObjectPath:
    """The simulated dataset's folder in the bucket; not to be changed."""
    return upload(dataset, session_bucket / "data")
