"""Writes a whole simulated dataset: the challenge's folders and tables, and the truth."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, Unpack

from v50calib.errors import ConfigError, StoreError, refuse_in_a_daemon
from v50calib.processes import worker_pool
from v50calib.schema import INSTRUMENTS, InstrumentName
from v50calib.simulate import files
from v50calib.simulate.config import Effects, Encoding, Layout, SimConfig, Split
from v50calib.simulate.planet import perturbed_star
from v50calib.simulate.spectra import read_spectra
from v50calib.simulate.truth import planet_truth, write_truth
from v50calib.simulate.visit import Scene, make_scene, simulate_instrument

#: called as progress(label, done, total) after each visit and instrument
Progress = Callable[[str, int, int], None]
Key = tuple[int, int, InstrumentName]


class SceneOptions(Effects, total=False):
    """The remaining fields of SimConfig, by their names there."""

    read_noise: bool
    dither: bool
    airs_scale: float
    hot_fraction: float
    dark: bool
    nonlinearity: bool
    flat_rms: float
    background_e_s: tuple[float, float]
    transit: bool
    limb_darkening: bool
    depth: float | None
    brightness: float | None
    star_temperature: float | None
    duration_h: float | None
    impact: float | None
    exact_star: bool
    t0_h: float | None
    encoding: Encoding


def simulate_dataset(
    out: str | Path,
    *,
    planets: int = 3,
    visits: int | Sequence[int] = 1,
    frames_fraction: float = 1.0,
    seed: int = 0,
    jitter_px: tuple[float, float] = SimConfig.jitter_px,
    drift_px: float = SimConfig.drift_px,
    noise: bool = True,
    cosmic_rays: float = SimConfig.cosmic_rays,
    dead_fraction: float = SimConfig.dead_fraction,
    split: Split = "train",
    layout: Layout = "2025",
    workers: int = 1,
    progress: Progress | None = None,
    **scene: Unpack[SceneOptions],
) -> Path:
    """Write a dataset with known truth into the new folder `out` and return its path.

    planets            number of planets
    visits             per planet: one number for all, or a sequence that is cycled over the planets
    workers            processes; the files do not depend on it. More than 1 needs an importable main module
    progress           progress(label, done, total), called in this process
    other arguments    see SimConfig; `**REALISTIC` switches the effects on that `v50calib simulate` has on

    The folder appears when it is complete: it is built beside `out`, under a name that starts with a dot.
    The same arguments give the same files. A full-length visit takes about 0.25 GB of disk, 0.7 GB of memory per
    worker and half a minute.

    Raises ConfigError for values that cannot be simulated, DataError for a damaged file of spectra, StoreError where
    `out` is not empty or cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     root = simulate_dataset(f"{folder}/data", planets=1, frames_fraction=0.0005, seed=1)
    ...     sorted(path.name for path in root.iterdir())
    ['adc_info.csv', 'axis_info.parquet', 'train', 'train.csv', 'train_star_info.csv', 'truth.json', 'wavelengths.csv']
    """
    config = SimConfig(
        seed=seed,
        frames_fraction=frames_fraction,
        noise=noise,
        jitter_px=jitter_px,
        drift_px=drift_px,
        cosmic_rays=cosmic_rays,
        dead_fraction=dead_fraction,
        layout=layout,
        split=split,
        **scene,
    )
    counts = _visit_counts(planets, visits, layout)
    if config.spectra is not None and len(read_spectra(config.spectra)) < planets:
        held = len(read_spectra(config.spectra))
        raise ConfigError(f"planets is {planets}, but {config.spectra} holds {held}: ask for at most {held} or add rows")
    if workers < 1:
        raise ConfigError(f"workers is {workers}: use 1 or more")
    root = Path(out)
    staging = _staging(root)
    try:
        _write_dataset(staging, config, counts, workers, progress)
        if root.exists():
            root.rmdir()
        staging.rename(root)
    except OSError as error:
        raise StoreError(f"the dataset cannot be written to {root}: {error}; nothing was left there") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return root


def _visit_counts(planets: int, visits: int | Sequence[int], layout: Layout) -> list[int]:
    """Number of visits of each planet. Raises ConfigError."""
    if planets < 1:
        raise ConfigError(f"planets is {planets}: use 1 or more")
    cycle = [visits] if isinstance(visits, int) else list(visits)
    if not cycle or min(cycle) < 1:
        raise ConfigError(f"visits is {visits!r}: each planet needs 1 or more")
    if layout == "2024" and max(cycle) > 1:
        raise ConfigError(f"visits is {visits!r}, but the 2024 layout has one visit a planet: use visits=1")
    return [cycle[n % len(cycle)] for n in range(planets)]


def _staging(root: Path) -> Path:
    """A fresh folder beside `root` to build in. Raises StoreError where `root` is taken or its parent not writable."""
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise StoreError(f"{root} exists and is not an empty folder: give a new folder, or remove it first")
    staging = root.parent / f".{root.name}.{os.getpid()}.partial"
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"{root.parent} cannot be written: {error}; give a folder that you may write") from error
    return staging


def _write_dataset(root: Path, config: SimConfig, counts: Sequence[int], workers: int, progress: Progress | None) -> None:
    """All files of the dataset below `root`; the truth last."""
    scenes = [[make_scene(config, index, v) for v in range(n)] for index, n in enumerate(counts)]
    for planet in scenes:
        (root / config.split / str(planet[0].planet.planet_id)).mkdir(parents=True)
    _write_tables(root, config, scenes)
    keys: list[Key] = [(s.index, s.visit, name) for planet in scenes for s in planet for name in INSTRUMENTS]
    found: dict[Key, dict[str, Any]] = {}
    for key, truth in _run(root, config, keys, workers):
        found[key] = truth
        if progress is not None:
            planet_id = scenes[key[0]][0].planet.planet_id
            progress(f"{planet_id} visit {key[1]} {key[2]}", len(found), len(keys))
    entries = [planet_truth(planet, [{name: found[s.index, s.visit, name] for name in INSTRUMENTS} for s in planet]) for planet in scenes]
    write_truth(root, config, entries)


def _write_tables(root: Path, config: SimConfig, scenes: Sequence[Sequence[Scene]]) -> None:
    """The tables beside the planets' folders."""
    split, layout = config.split, config.layout
    first = [planet[0] for planet in scenes]
    files.write_axis_info(root, config.frames_fraction)
    files.write_wavelengths(root)
    files.write_adc(root, split, layout, [(s.planet.planet_id, s.adc_offset, s.adc_gain) for s in first])
    if layout == "2025":
        stars = [(s.planet.planet_id, s.planet.star if config.exact_star else perturbed_star(s.planet.star, s.rng(None, 3))) for s in first]
        files.write_star_info(root, split, stars)
    if split == "train":
        files.write_depths(root, layout, [(s.planet.planet_id, s.planet.depth) for s in first])
    else:
        files.write_sample_submission(root, [s.planet.planet_id for s in first])


def _run(root: Path, config: SimConfig, keys: Sequence[Key], workers: int) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Truth of each (planet, visit, instrument) as its files are written, in whatever order they finish."""
    if workers == 1 or len(keys) == 1:
        for key in keys:
            yield key, _write_one(root, config, key)
        return
    refuse_in_a_daemon(f"simulate with workers={workers}", "workers=1")
    with worker_pool(min(workers, len(keys))) as pool:
        futures = {pool.submit(_write_one, root, config, key): key for key in keys}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _write_one(root: Path, config: SimConfig, key: Key) -> dict[str, Any]:
    """Simulate one visit of one instrument, write its files, return its truth."""
    index, visit, instrument = key
    scene = make_scene(config, index, visit)
    data = simulate_instrument(scene, instrument)
    folder = root / config.split / str(scene.planet.planet_id)
    files.write_instrument(folder, instrument, visit, data, config.layout, config.encoding)
    return data.truth
