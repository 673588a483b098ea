"""A local S3 server (moto) for the session, a bucket a test, and the simulated dataset in it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto_server import access, make_bucket, running_moto
from s3_bucket import upload

from v50calib.io.storage.location import locate
from v50calib.io.storage.objects import ObjectPath, _store


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the server, on loopback."""
    with running_moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture(scope="session")
def session_bucket(endpoint: str) -> Iterator[ObjectPath]:
    """Credentials in the environment, where they belong, and a bucket."""
    given = access(endpoint)
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    _store.cache_clear()
    name = f"b{uuid.uuid4().hex[:12]}"
    make_bucket(endpoint, name)
    bucket = locate(f"s3://{name}")
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
