"""What names a location, what is refused, and that local paths pay nothing for object stores."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto_server import access

from v50calib import calibrate
from v50calib.errors import ConfigError, StoreError
from v50calib.io import ingest
from v50calib.io.storage.location import locate
from v50calib.io.storage.objects import LISTINGS, ObjectPath


def test_local_paths_are_paths(tmp_path: Path) -> None:
    assert locate(str(tmp_path)) == tmp_path
    assert locate(tmp_path / "a") == tmp_path / "a"
    assert locate("runs/x:y") == Path("runs/x:y")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://AKIAIOSFODNN7:verysecret@bucket/data", "refused"),
        ("s3://verysecret@bucket/data", "refused"),
        ("s3://bucket/data?X-Amz-Signature=verysecret", "refused"),
        ("gs://bucket/data#verysecret", "refused"),
        ("https://user:verysecret@host/data", "https:// is no known kind of location"),
        ("ftp://host/verysecret", "s3://, gs://, az://"),
        ("s3://", "names no location"),
        ("s3:///data", "names no location"),
        ("s3://bucket/../other/data", "without '..'"),
    ],
)
def test_what_is_refused_without_repeating_a_secret(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        locate(url)
    assert words in str(caught.value)
    assert "verysecret" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


def test_a_url_that_went_through_pathlib() -> None:
    with pytest.raises(ConfigError, match="lost a slash"):
        locate(Path("s3://bucket/data"))


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError, match=r"v50calib\[objects\]"):
        locate("s3://bucket/data")


def test_local_runs_do_not_load_the_package() -> None:
    """The fast path: nothing of an object store is imported, in a fresh process."""
    code = (
        "import sys; from v50calib.io import scan; from v50calib.export import write; from v50calib.runs import status, verify; "
        "from v50calib.runtime import batch; "
        "from v50calib.io.storage.location import locate; locate('x'); "
        "sys.exit(any(m.split('.')[0] in ('obstore', 'fsspec_s3', 's3fs') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names() -> None:
    pytest.importorskip("obstore")
    path = locate("s3://bucket//run/a//b.json/")
    assert isinstance(path, ObjectPath)
    assert str(path) == "s3://bucket/run/a/b.json"
    assert (path.name, str(path.parent), path.parts[-2:]) == ("b.json", "s3://bucket/run/a", ("a", "b.json"))
    assert path.relative_to(locate("s3://bucket/run")).as_posix() == "a/b.json"  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(path)) == path
    assert str(locate("s3://bucket")) == "s3://bucket"


def test_objects(bucket: ObjectPath, tmp_path: Path) -> None:
    path = bucket / "a" / "b.bin"
    assert not path.exists()
    assert not bucket.is_dir()
    with pytest.raises(FileNotFoundError, match=r"b\.bin"):
        path.read_bytes()
    assert path.create(b"0123456789")
    assert not path.create(b"other")
    tag = path.head()["e_tag"]
    assert path.exchange(b"abcdefghij", tag)
    assert not path.exchange(b"other", tag)
    assert (path.read_bytes(), path.read_range(2, 3), path.read_range(-4, 2), path.size()) == (b"abcdefghij", b"cde", b"gh", 10)
    assert bucket.is_dir()
    assert (path.is_file(), path.is_dir(), (bucket / "a").is_file()) == (True, False, False)
    (bucket / "a.txt").write_text("µ")
    assert [p.name for p in bucket.iterdir()] == ["a", "a.txt"]
    assert [p.relative_to(bucket).as_posix() for p in sorted(bucket.objects())] == ["a.txt", "a/b.bin"]
    with (tmp_path / "copy").open("wb") as stream:
        path.download(stream)
    assert (tmp_path / "copy").read_bytes() == b"abcdefghij"
    path.unlink()
    path.unlink(missing_ok=True)
    assert not (bucket / "a").exists()


def test_reading_parts_as_a_file(bucket: ObjectPath) -> None:
    content = bytes(range(256)) * 20000
    (bucket / "long").write_bytes(content)
    file = (bucket / "long").reader()
    for start, length in ((len(content) - 8, 8), (len(content) - 300000, 299000), (0, 10), (1234567, 2500000)):
        file.seek(start)
        assert file.read(length) == content[start : start + length]


def test_a_listing_that_breaks_off_is_gone_on_with(bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every object once, in order; nothing is asked for twice; a listing that always breaks off is an error."""
    obstore = pytest.importorskip("obstore")
    for name in "abcde":
        (bucket / name).write_bytes(b"1")
    whole, offsets, calls = obstore.list, [], 2

    def broken(store: Any, prefix: str | None = None, *, offset: str | None = None) -> Iterator[Any]:
        offsets.append(offset)
        yield next(iter(whole(store, prefix, offset=offset, chunk_size=2)))
        if len(offsets) <= calls:
            raise obstore.exceptions.GenericError("Error getting list response body")

    monkeypatch.setattr(obstore, "list", broken)
    assert [path.name for path in bucket.objects()] == list("abcde")
    assert offsets == [None, f"{bucket.key}/b", f"{bucket.key}/d"]
    offsets, calls = [], 10**6
    monkeypatch.setattr(obstore, "list", lambda *a, **k: broken(*a, **(k | {"offset": None})))
    with pytest.raises(ConnectionError, match="response body"):
        list(bucket.objects())
    assert len(offsets) == LISTINGS


@pytest.mark.parametrize("ask", [calibrate, ingest])
def test_an_endpoint_that_does_not_answer_is_told_soon(
    ask: Callable[[str, str], object], dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Port 9 of loopback: nobody listens. The bucket's name is new, so that no earlier store is used again."""
    for name, value in access("http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("v50calib.io.storage.objects.FIRST_PATIENCE_S", 0.5)
    with pytest.raises(StoreError, match=r"s3://nowhere-9/run.*\(asked for 0.5 s\): look at the network and at the endpoint"):
        ask(str(dataset), "s3://nowhere-9/run")
