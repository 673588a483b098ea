"""An object store on a bad day: dataset and run directory in S3 (moto), behind a proxy that fails from the first product on."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from moto_server import access, make_bucket, running_moto
from s3_bucket import upload
from s3_proxy import Kind, Proxy, Trouble, s3_proxy

from v50calib.io.storage.commit import tree_hash
from v50calib.io.storage.objects import ObjectPath, _store
from v50calib.runs.status import status
from v50calib.runs.verify import verify

from .conftest import OVERRIDES, PROGRAM, Site

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """In front of a server of its own; this process and those it starts find the proxy by the environment."""
    with running_moto(tmp_path_factory.mktemp("moto")) as url, s3_proxy(url) as proxy, pytest.MonkeyPatch.context() as patch:
        for name, value in access(proxy.url).items():
            patch.setenv(name, value)
        make_bucket(url, "bucket")
        _store.cache_clear()
        yield proxy
        _store.cache_clear()


@pytest.fixture(scope="module")
def remote(tiny: Path, proxy: Proxy) -> ObjectPath:
    return upload(tiny, ObjectPath("s3://bucket", "data"))


@dataclass
class Bucket:
    """A run in the bucket, from the bucket."""

    site: Site
    proxy: Proxy
    data: ObjectPath
    run: ObjectPath = field(default_factory=lambda: ObjectPath("s3://bucket", uuid.uuid4().hex))

    def calibrate(self, *overrides: str, trouble: Trouble | None = None, faults: list[dict[str, Any]] | None = None) -> tuple[int, str]:
        self.proxy.trouble = trouble
        words = ["calibrate", "--config-name", "calib/fast", "--data", str(self.data), "--out", str(self.run), "--scheduler", "sync"]
        try:
            return self.site.end(self.site.launch([*PROGRAM, *words, *OVERRIDES, *overrides], faults), timeout=500)
        finally:
            self.proxy.trouble = None

    def resume(self, *overrides: str) -> str:
        code, text = self.calibrate(*overrides)
        assert code == 0, text
        self.check()
        return text

    def check(self) -> None:
        """All products of an undisturbed run on a disk, by their bytes, and nothing half."""
        found = verify(self.run)
        assert (found.ok, found.partial) == (True, [])
        root = self.run / "calibrated.zarr"
        products = [path.parent for path in root.rglob("_COMMIT.json")]
        assert {product.relative_to(root).as_posix(): tree_hash(product) for product in products} == self.site.wanted
        assert status(self.run)["failures"] == []


@pytest.fixture
def bucket(site: Site, proxy: Proxy, remote: ObjectPath) -> Bucket:
    return Bucket(site, proxy, remote)


@pytest.mark.parametrize(
    "kind", ["unavailable", pytest.param("slowdown", marks=pytest.mark.slow), "internal", "reset", "lost", "half", "late"]
)
def test_every_second_request_fails(bucket: Bucket, kind: Kind) -> None:
    """40 times, of all kinds of requests: ridden out by asking again, within the run."""
    trouble = Trouble(kind, methods=("GET",), every=1, times=3) if kind == "half" else Trouble(kind)
    code, text = bucket.calibrate(trouble=trouble)
    assert trouble.hits == trouble.times or (kind == "half" and trouble.hits > 0)
    assert code == 0, text
    assert "4 calibrated" in text
    bucket.check()
    assert "4 already complete" in bucket.resume()


def test_outage_that_ends(bucket: Bucket) -> None:
    """No request is answered for 12 s, longer than ten attempts take: less than the patience, so nothing even fails."""
    trouble = Trouble("unavailable", every=1, times=10**9, seconds=12)
    code, text = bucket.calibrate("runtime.retries=0", trouble=trouble)
    assert trouble.hits > 20
    assert code == 0, text
    bucket.check()
    assert "4 already complete" in bucket.resume()


@pytest.mark.slow
def test_credentials_run_out(bucket: Bucket) -> None:
    """A refusal is not retried: it is reported at once, with the remedy; the next run, with new credentials, resumes."""
    code, text = bucket.calibrate(trouble=Trouble("denied", every=1, times=10**9))
    assert code == 4, text
    assert "Traceback" not in text
    assert "access denied; look at the credentials" in text
    bucket.resume()


def test_store_goes_away_for_good(bucket: Bucket) -> None:
    """Nothing is answered any more after the first product. The run ends once the patience (here 3 s a request) does."""
    patience = bucket.site.fault("v50calib.io.storage.objects", "_open_store", "patience:3")
    trouble = Trouble("unavailable", every=1, times=10**9)
    code, text = bucket.calibrate("runtime.retries=0", trouble=trouble, faults=[patience])
    assert code == 4, text
    assert "Traceback" not in text
    assert "cannot write into" in text
    bucket.resume()


def test_client_is_killed_before_it_puts(bucket: Bucket) -> None:
    """kill -9 with a whole product that is not put yet, and its lock's record left: that stands still and is taken over."""
    fault = bucket.site.fault("v50calib.io.storage.object_commit", "put_product", "kill")
    code, text = bucket.calibrate(faults=[fault])
    assert code == -signal.SIGKILL, text
    assert json.loads((bucket.run / ".lock").read_text())["pid"] > 1
    bucket.resume()


def test_client_is_killed_while_a_product_is_replaced(bucket: Bucket) -> None:
    """kill -9 between the exchange of the record and the copy: the new product is there, and the next run finishes it."""
    bucket.resume()
    fault = bucket.site.fault("v50calib.io.storage.object_commit", "finish", "kill")
    code, text = bucket.calibrate("--overwrite", faults=[fault])
    assert code == -signal.SIGKILL, text
    records = [json.loads(path.read_text()) for path in (bucket.run / "calibrated.zarr").rglob("_COMMIT.json")]
    assert sum("being_copied_from" in record for record in records) == 1
    bucket.resume()
    assert [path for path in bucket.run.objects() if ".new/" in path.key] == []
