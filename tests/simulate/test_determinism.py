"""The same seed gives the same files, whatever the workers, the company of other planets, or the instruments asked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from v50calib.simulate import SimConfig, make_scene, simulate_dataset, simulate_visit

TINY = 0.0008


def digests(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()}


def test_workers_do_not_change_a_byte(tmp_path: Path) -> None:
    one = simulate_dataset(tmp_path / "one", planets=1, frames_fraction=TINY, seed=11)
    two = simulate_dataset(tmp_path / "two", planets=1, frames_fraction=TINY, seed=11, workers=2)
    assert digests(one) == digests(two)


def test_a_planet_does_not_depend_on_the_others(tmp_path: Path) -> None:
    alone = simulate_dataset(tmp_path / "alone", planets=1, frames_fraction=TINY, seed=2)
    company = simulate_dataset(tmp_path / "company", planets=2, visits=(2, 1), frames_fraction=TINY, seed=2)
    planet = json.loads((alone / "truth.json").read_text())["planets"][0]
    folder = Path("train") / str(planet["planet_id"])
    ours, theirs = digests(alone / folder), digests(company / folder)
    assert ours.items() <= theirs.items()


def test_seed_planet_and_visit_each_change_the_noise() -> None:
    def frames(seed: int, index: int, visit: int) -> np.ndarray:
        config = SimConfig(seed=seed, frames_fraction=0.0004)
        return simulate_visit(make_scene(config, index, visit), ["FGS1"]).instruments["FGS1"].frames

    base = frames(0, 0, 0)
    np.testing.assert_array_equal(base, frames(0, 0, 0))
    for other in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert (frames(*other) != base).mean() > 0.5


def test_visits_of_a_planet_share_it() -> None:
    config = SimConfig(seed=4)
    first, second = make_scene(config, 1, 0), make_scene(config, 1, 1)
    np.testing.assert_array_equal(first.planet.depth, second.planet.depth)
    assert first.planet.star == second.planet.star
    assert first.t0_h != second.t0_h
