"""Registration of methods: what is refused, what a hash is of, how methods travel, what an installed plug-in is."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import Field
from tests.helpers.toyring import SOURCE, install_toy

import v50calib
from v50calib.config import load
from v50calib.config.explain import choices_of, told_methods
from v50calib.config.provenance import config_hash, product_attrs
from v50calib.errors import ConfigError
from v50calib.methods import KINDS, Options, find, register, registry
from v50calib.methods.choice import Registered
from v50calib.methods.source import digest
from v50calib.runtime.carried import packed_methods, unpack_methods
from v50calib.runtime.doctor import _methods
from v50calib.stages.dark.config import CosmicRays
from v50calib.stages.photometry.config import Background, Method
from v50calib.stages.trace.along_time import AlongTime


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a registry of its own, and installed plug-ins are looked for again."""
    monkeypatch.setattr(registry, "_METHODS", {})
    monkeypatch.setattr(registry, "_BROKEN", {})
    yield
    monkeypatch.undo()
    for cached in (registry._plugins, registry._load_plugins):
        cached.cache_clear()


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs the toy distribution."""

    def install(version: str = "1.2", source: str = SOURCE) -> None:
        folder = tmp_path / version
        folder.mkdir()
        install_toy(folder, version, source)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "toyring", raising=False)
        registry._plugins.cache_clear()
        registry._load_plugins.cache_clear()
        registry._METHODS.clear()

    return install


def even(scene: Any) -> Any:
    """Mean of all good pixels."""
    return scene.good.astype(float)


class Width(Options):
    width: int = Field(default=3, ge=1, description="samples")


RING = ["fgs1.photometry.background.method=ring"]


def test_the_names_of_built_in_methods_are_those_of_the_config() -> None:
    sections = {"photometry.background": Background, "photometry.photometry": Method, "dark.cosmic_rays": CosmicRays}
    for kind, model in (sections | {"trace.along_time": AlongTime}).items():
        choices, name = get_args(model.model_fields[KINDS[kind].key.rpartition(".")[2]].annotation)
        assert get_args(choices) == KINDS[kind].builtin
        assert [item.kind for item in get_args(name) if isinstance(item, Registered)] == [kind]


@pytest.mark.parametrize(
    ("kind", "name", "more", "said"),
    [
        ("photometry.backgroud", "x", {}, "did you mean 'photometry.background'?"),
        ("photometry.centroid", "x", {}, "methods of calib.photometry.centroid cannot be registered: positions are measured together"),
        ("calib.flat", "x", {}, "it is a map: give one of your own"),
        ("phase.depths", "x", {}, "its fits are joint fits"),
        ("photometry.background", "annulus", {}, "is built in: give your method another name"),
        ("photometry.background", "Ring 2", {}, "small letters, digits and _"),
        ("photometry.background", "x", {"options": dict}, "give a subclass of v50calib.methods.Options"),
        ("photometry.background", "x", {"on": ["stars"]}, r"give \['band'\], \['spectrum'\] or both"),
        ("photometry.background", "x", {"options": Width}, r"is called with \(scene, options\), which .* does not take"),
        ("trace.along_time", "x", {"function": functools.partial(even)}, "register a function, for example one that calls it"),
        ("dark.cosmic_rays", "x", {}, r"is called with \(frames, noise, sigma\), which"),
    ],
)
def test_what_cannot_be_registered_is_told(kind: str, name: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        v50calib.methods.register(kind, name, **{k: v for k, v in more.items() if k != "function"})(more.get("function", even))


def test_a_plug_in_is_found_by_its_entry_point_and_its_parameters_are_checked(toy: Callable[..., None]) -> None:
    with pytest.raises(ConfigError, match=r"is 'ring' .*: it must be one of: auto, columns, annulus, mesh, poly2d, spline2d, none$"):
        load("calib/nominal", RING)
    toy()
    config = load("calib/nominal", [*RING, "fgs1.photometry.background.options.inner_px=9"])
    assert config.of("FGS1").calib.photometry.background.options == {"inner_px": 9.0, "outer_px": 20.0}
    assert config.of("AIRS-CH0").calib.photometry.background.method == "auto"
    assert "ring" in choices_of("calib.photometry.background.method")
    assert told_methods(config)[0].startswith("calib.photometry.background.method: ring is registered by toyring 1.2, sha256 ")
    where = "fgs1.photometry.background.options"
    for wrong, said in (("iner_px=9", f"did you mean {where}.inner_px"), ("inner_px=-9", f"{where}.inner_px must be > 0.0, but it is -9")):
        with pytest.raises(ConfigError, match=said):
            load("calib/nominal", [*RING, f"{where}.{wrong}"])
    with pytest.raises(ConfigError, match="auto is built in and has its own section: leave x out"):
        load("calib/nominal", ["calib.photometry.background.options.x=1"])
    with pytest.raises(ConfigError, match=r"^AIRS-CH0: the registered method airs.photometry.background.method=ring .*for band alone"):
        v50calib.Pipeline.from_profile("calib/nominal", ["airs.photometry.background.method=ring"])


def test_name_version_source_and_parameters_are_in_the_hash_and_in_the_product(toy: Callable[..., None]) -> None:
    toy()
    hashes = {config_hash(load("calib/nominal", RING))}
    hashes.add(config_hash(load("calib/nominal", [*RING, "fgs1.photometry.background.options.inner_px=9"])))
    attrs = product_attrs(load("calib/nominal", RING).of("FGS1"), {}, {})
    (told,) = json.loads(attrs["methods"])
    assert (told["kind"], told["name"], told["origin"], len(told["sha256"])) == ("photometry.background", "ring", "toyring 1.2", 64)
    toy("1.3")
    hashes.add(config_hash(load("calib/nominal", RING)))
    # a constant that the function's helper names
    toy("1.4", SOURCE.replace("LEAST = 0.0", "LEAST = 1.0"))
    hashes.add(config_hash(load("calib/nominal", RING)))
    assert len(hashes) == 4
    assert "methods" not in product_attrs(load("calib/nominal"), {}, {})


def test_a_plug_in_that_cannot_be_imported_is_named_where_its_method_is_missed(toy: Callable[..., None]) -> None:
    toy("2.0", "import no_such_module\n")
    load("calib/nominal")
    with pytest.raises(ConfigError, match=r"the plug-in ring of toyring 2.0 cannot be imported \(ModuleNotFoundError: .*no_such_module"):
        load("calib/nominal", RING)


def test_a_cell_that_runs_again_replaces_its_method_and_others_names_are_kept(toy: Callable[..., None]) -> None:
    toy()
    load("calib/nominal", RING)
    with pytest.raises(ConfigError, match=r"is registered by toyring 1.2 already: give the method of .* another name"):
        register("photometry.background", "ring")(even)
    register("photometry.background", "even")(even)
    first = find("photometry.background", "even")
    register("photometry.background", "even")(lambda scene: scene.good * 2.0)
    again = find("photometry.background", "even")
    assert first is not None
    assert again is not None
    assert first.sha256 != again.sha256


def test_a_hash_is_of_the_source_and_of_what_it_names() -> None:
    def made(text: str) -> str:
        space: dict[str, Any] = {"__name__": "__main__", "np": np}
        exec(text, space)
        return digest(space["f"])

    plain = "K = 2.0\ndef g(x):\n    return K * x\ndef f(x):\n    return g(x)\n"
    assert made(plain) == made(plain) == made("OTHER = 1\n" + plain)
    assert len({made(plain), made(plain.replace("2.0", "3.0")), made(plain.replace("K * x", "K + x"))}) == 3
    table = "T = np.arange(3.0)\ndef f(x):\n    return T[x]\n"
    assert made(table) != made(table.replace("3.0", "4.0"))


class Places(Options):
    corner: tuple[int, int] = (1, 2)


def test_parameters_are_the_same_after_json() -> None:
    seen = []
    register("photometry.background", "placed", options=Places)(lambda scene, options: seen.append(options))
    method = find("photometry.background", "placed")
    assert method is not None
    given = registry.checked_options("photometry.background", "placed", {"corner": [3, 4]})
    assert given == json.loads(json.dumps(given)) == {"corner": [3, 4]}
    method(None, given=given)
    assert seen == [Places(corner=(3, 4))]


def test_methods_travel_to_a_process_that_has_not_registered_them(monkeypatch: pytest.MonkeyPatch) -> None:
    register("photometry.background", "even")(even)
    config = load("calib/nominal", ["calib.photometry.background.method=even"])
    packed, known = packed_methods(config), find("photometry.background", "even")
    monkeypatch.setattr(registry, "_METHODS", {})
    with pytest.raises(ConfigError, match="must be one of"):
        load("calib/nominal", ["calib.photometry.background.method=even"])
    unpack_methods(packed)
    assert find("photometry.background", "even") == known
    assert config_hash(load("calib/nominal", ["calib.photometry.background.method=even"])) == config_hash(config)
    assert packed_methods(load("calib/nominal")) == b""


def test_a_worker_with_another_version_of_a_plug_in_is_refused(toy: Callable[..., None]) -> None:
    toy("1.2")
    packed = packed_methods(load("calib/nominal", RING))
    toy("1.3")
    with pytest.raises(ConfigError, match=r"ring \(toyring 1.3\) on this worker is not that of the run's driver \(toyring 1.2"):
        unpack_methods(packed)


def test_what_a_method_must_give() -> None:
    register("photometry.background", "even")(even)
    method = find("photometry.background", "even")
    assert method is not None
    assert method.array([[1, 2]], (1, 2)).dtype == np.float64
    for wrong, shape, kind, said in (
        (np.ones(3), (2,), float, r"gave an array \(3,\) of float64, and must give \(2,\) of float64"),
        (np.array([1.0, np.nan]), (2,), float, "gave 1 values that are not finite"),
        (np.ones(2), (2,), bool, r"and must give \(2,\) of bool"),
    ):
        with pytest.raises(ConfigError, match=f"the registered method calib.photometry.background.method=even .*{said}"):
            method.array(wrong, shape, kind)


def test_doctor_lists_plug_ins_and_those_that_cannot_be_imported(toy: Callable[..., None]) -> None:
    assert list(_methods()) == []
    toy()
    assert [(c.state, c.found) for c in _methods()] == [("ok", "photometry.background.method=ring (toyring 1.2)")]
    toy("2.0", "import no_such_module\n")
    (check,) = _methods()
    assert check.state == "note"
    assert "the plug-in ring of toyring 2.0 cannot be imported" in check.found


def test_the_printed_config_names_the_plug_in(toy: Callable[..., None], tmp_path: Path) -> None:
    toy()
    words = [sys.executable, "-m", "v50calib", "calibrate", "--cfg", "job", *RING]
    env = {"PYTHONPATH": f"{tmp_path / '1.2'}:{Path(v50calib.__file__).parents[1]}", "PATH": "/usr/bin:/bin"}
    printed = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
    assert "# FGS1 gets calib, but\n#   calib.photometry.background.method: ring (calib: auto)" in printed
    assert "# calib.photometry.background.method: ring is registered by toyring 1.2, sha256 " in printed
