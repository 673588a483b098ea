"""What a stranger's data or a mistyped config must not do: run code, leave the root, listen to the network, keep secrets.

Secrets in run directories: tests/runtime/test_resume.py, tests/runtime/test_failures.py, tests/objects/test_runs.py.
"""

from __future__ import annotations

import ast
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import yaml

import v50calib
from v50calib import open_visit
from v50calib.array_files import load_array
from v50calib.config import load
from v50calib.config.runtime import RuntimeConfig
from v50calib.errors import ConfigError, DataError, StoreError, V50CalibError
from v50calib.io import normalise_planet_id, scan
from v50calib.io.detector_yaml.load import array_file, load_description
from v50calib.runs.directory import read_mark
from v50calib.runtime.cluster import open_client
from v50calib.runtime.queues import kubernetes_arguments
from v50calib.safety import compiled

SOURCE = Path(v50calib.__file__).parent


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "executed"


def object_npy(path: Path, mark: Path) -> Path:
    np.save(path, np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    return path


def object_npz(path: Path, mark: Path) -> Path:
    np.savez(path, values=np.array([Bomb(mark)], dtype=object))
    return path


def object_zarr(path: Path, mark: Path) -> Path:
    """A Zarr v2 array of text that names pickle as the last of its filters."""
    path.mkdir()
    head = {"zarr_format": 2, "shape": [2], "chunks": [2], "fill_value": None, "order": "C", "compressor": None}
    filters = [{"id": "vlen-utf8"}, {"id": "pickle"}]
    (path / ".zarray").write_text(json.dumps({**head, "dtype": "|O", "filters": filters}))
    (path / "0").write_bytes(pickle.dumps(Bomb(mark)))
    return path


MAKERS = [(object_npy, "m.npy"), (object_npz, "m.npz"), (object_zarr, "m.zarr")]


def test_the_bomb_goes_off_where_pickles_are_read(tmp_path: Path, mark: Path) -> None:
    """Else the tests below would pass for nothing."""
    np.load(object_npy(tmp_path / "m.npy", mark), allow_pickle=True)
    assert mark.is_dir()


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_pickles_in_maps_are_not_read(tmp_path: Path, mark: Path, make: Callable[[Path, Path], Path], name: str) -> None:
    with pytest.raises(V50CalibError):
        load_array(str(make(tmp_path / name, mark)), key="calib.flat.master.path")
    assert not mark.exists()


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_pickles_in_a_detector_folder_are_not_read(tmp_path: Path, mark: Path, make: Callable[[Path, Path], Path], name: str) -> None:
    make(tmp_path / name, mark)
    with pytest.raises(V50CalibError):
        array_file(tmp_path, name).values()
    assert not mark.exists()


def tag(mark: Path) -> str:
    return f'!!python/object/apply:os.mkdir ["{mark}"]\n'


def test_tags_in_a_profile_are_not_run(tmp_path: Path, mark: Path) -> None:
    (tmp_path / "calib").mkdir()
    (tmp_path / "calib" / "mine.yaml").write_text(f"defaults:\n  - nominal\n  - _self_\nflat:\n  enabled: {tag(mark)}")
    with pytest.raises(ConfigError):
        load("calib/mine", (), tmp_path)
    (tmp_path / "compute").mkdir()
    (tmp_path / "compute" / "mine.yaml").write_text(f"num_workers: {tag(mark)}")
    with pytest.raises(ConfigError):
        load("calib/nominal", ("compute=mine",), tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("value", ["{_target_: os.mkdir, _args_: [$]}", '${eval:\'__import__("os").mkdir("$")\'}', "${oc.create:$}"])
def test_overrides_call_nothing(mark: Path, value: str) -> None:
    with pytest.raises(ConfigError):
        load("calib/nominal", (f"calib.flat.enabled={value.replace('$', str(mark), 1) if value[0] == '{' else value}",))
    assert not mark.exists()


def test_tags_in_other_files_are_not_run(tmp_path: Path, mark: Path) -> None:
    (tmp_path / "detector.yaml").write_text(f"instruments: {tag(mark)}")
    with pytest.raises(V50CalibError):
        load_description(tmp_path)
    (tmp_path / "config.yaml").write_text(f"config_hash: {tag(mark)}")
    with pytest.raises(StoreError):
        read_mark(tmp_path)
    (tmp_path / "cluster.yaml").write_text(tag(mark))
    with pytest.raises((ConfigError, yaml.YAMLError)):
        kubernetes_arguments(load("calib/nominal", ("compute=kubernetes", f"runtime.kubernetes.spec={tmp_path}/cluster.yaml")).runtime)
    assert not mark.exists()


def calls(tree: ast.AST) -> set[str]:
    """Dotted names that are called or imported."""
    found = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return found | {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


UNSAFE = {"eval", "exec", "pickle", "marshal", "shelve", "joblib", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system"}


def test_the_source_has_no_such_call() -> None:
    used = {path.name: calls(ast.parse(path.read_text(encoding="utf-8"))) & UNSAFE for path in SOURCE.rglob("*.py")}
    assert {name: names for name, names in used.items() if names} == {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("np.load"):
                assert any(k.arg == "allow_pickle" and ast.unparse(k.value) == "False" for k in node.keywords), f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "planet", ["..", "../1", "/etc", "a/b", "a\\b", ".", "", "1\0", "%2e%2e", "a b", "1\n2", "~root", float("nan"), "é"]
)
def test_planet_ids_that_could_leave_the_root(dataset: Path, planet: object) -> None:
    with pytest.raises(DataError, match=r"not valid|there is no planet id"):
        normalise_planet_id(planet)
    with pytest.raises(DataError):
        open_visit(dataset, planet)


@pytest.mark.parametrize("instrument", ["../FGS1", "..", "/etc/passwd", "FGS1/../../x"])
def test_instruments_that_could_leave_the_root(dataset: Path, instrument: str) -> None:
    with pytest.raises(DataError, match="unknown instrument"):
        open_visit(dataset, scan(dataset)[0].planet_id, 0, instrument)


def test_folders_that_are_no_visits_are_passed_over(store: Path, tmp_path: Path) -> None:
    """Names of a store's folders become names of products."""
    copy = Path(shutil.copytree(store, tmp_path / "raw.zarr"))
    key = scan(copy)[0]
    visit = copy / "train" / key.planet_id / str(key.visit)
    for name in (".hidden", "...", "a b", "x;y", "FGS1.a.b"):
        shutil.copytree(visit / "FGS1", visit / name)
    shutil.copytree(copy / "train" / key.planet_id, copy / "train" / "a b")
    shutil.copytree(visit, visit.with_name("٣"))
    assert scan(copy) == scan(store) or {k.visit for k in scan(copy)} <= {0, 1, 3}
    assert {k.instrument for k in scan(copy)} == {"FGS1", "AIRS-CH0"}
    assert "a b" not in {k.planet_id for k in scan(copy)}


@pytest.mark.parametrize("planet", ["../../outside", "/tmp/x", "a/b"])
def test_detector_files_cannot_name_places_outside(tmp_path: Path, planet: str) -> None:
    text = yaml.safe_dump({"instruments": {"CAM": {}}, "visits": [{"planet_id": planet, "frames": "x.npy"}]})
    (tmp_path / "detector.yaml").write_text(text)
    with pytest.raises(V50CalibError):
        scan(tmp_path)


@pytest.mark.parametrize("dashboard", ["127.0.0.1:0", "off"])
@pytest.mark.parametrize("scheduler", ["threads", pytest.param("local", marks=pytest.mark.slow)])
def test_nothing_listens_beyond_loopback_by_default(scheduler: str, dashboard: str) -> None:
    """Listening sockets of this process and its children while a cluster runs."""
    assert RuntimeConfig().dashboard == "127.0.0.1:0"
    me = psutil.Process()

    def listening() -> set[tuple[str, int]]:
        sockets = [c for p in (me, *me.children(recursive=True)) for c in p.net_connections("inet")]
        return {(c.laddr.ip, c.laddr.port) for c in sockets if c.status == psutil.CONN_LISTEN}

    before = listening()
    given = (f"runtime.scheduler={scheduler}", "runtime.num_workers=1", f"runtime.dashboard={dashboard}")
    with open_client(load("calib/nominal", given).runtime) as client:
        assert client.submit(abs, -3).result() == 3
        opened = {ip for ip, _ in listening() - before}
    assert opened == {"127.0.0.1"}


# compiled kernels are pickles


def test_compiled_kernels_are_kept_where_nobody_else_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setitem(sys.modules, "numba.core.config", SimpleNamespace())
    before = os.umask(0)
    try:
        folder = compiled.use_private_cache()
    finally:
        os.umask(before)
    assert folder == tmp_path / "cache" / "v50calib" / "numba"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert os.environ["NUMBA_CACHE_DIR"] == str(folder)


@pytest.mark.parametrize("kind", ["writable", "link", "parent", "foreign"])
def test_a_cache_that_others_can_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    given, own = tmp_path / "shared" / "numba", tmp_path / "own"
    given.parent.mkdir()
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        given.symlink_to(tmp_path / "elsewhere")
    else:
        given.mkdir()
    if kind == "writable":
        given.chmod(0o777)
    if kind == "parent":
        given.parent.chmod(0o777)
    if kind == "foreign":
        if os.geteuid() != 0:
            pytest.skip("only root can make a folder of another user")
        os.chown(given, 12345, -1)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(given))
    monkeypatch.setenv("XDG_CACHE_HOME", str(own))
    monkeypatch.setitem(sys.modules, "numba.core.config", SimpleNamespace())
    assert compiled.fault(given)
    assert compiled.use_private_cache() == own / "v50calib" / "numba"


def test_a_given_private_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    config = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "numba.core.config", config)
    assert compiled.use_private_cache() == tmp_path / "mine"
    assert str(tmp_path / "mine") == config.CACHE_DIR
    assert compiled.fault(tmp_path / "mine") == ""


def test_without_a_home_the_cache_is_this_processes_alone(tmp_path: Path) -> None:
    """And it is gone with the process; its workers have found it in the environment."""
    (tmp_path / "file").write_text("")
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | {"XDG_CACHE_HOME": str(tmp_path / "file")}
    environment |= {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path[1:])}
    code = "import v50calib, os; p = os.environ['NUMBA_CACHE_DIR']; print(p, oct(os.stat(p).st_mode)[-3:])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    folder, mode = done.stdout.split()
    assert (Path(folder).parent, mode) == (tmp_path, "700")
    assert not Path(folder).exists()
