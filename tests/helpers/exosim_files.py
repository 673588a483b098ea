"""Files as ExoSim 2 writes them, small: NDRs of FGS1 and AIRS-CH0 with the configuration beside them.

Layout: src/exosim/recipes/createNDRs.py and models/signal.py of ExoSim 2.2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SHAPES = {"FGS1": (32, 32), "AIRS-CH0": (32, 356)}
#: seconds from reset to the first read, between the reads, from ramp to ramp
TIMING = {"FGS1": (0.1, 0.1, 0.4), "AIRS-CH0": (0.1, 4.5, 4.8)}
GAIN, OFFSET, WELL = 0.4369, -1000.0, 100000.0

MAIN = """<root><ConfigPath>/nowhere</ConfigPath><sky><config>/nowhere/sky.xml</config></sky>
<payload><config>__ConfigPath__/payload.xml</config></payload></root>"""
SKY = """<root><source> star4000000207 <source_target>True</source_target>
<R unit="R_sun"> 0.75 </R><M unit="M_sun"> 0.76 </M><T unit="K"> 4700.0 </T>
<planet> b <period unit='day'>3.4</period><sma>9.0</sma><inc unit='deg'>88.2</inc><ecc>0.0</ecc></planet></source></root>"""
PAYLOAD = """<root><channel> FGS1 <config>/nowhere/fgs.xml</config></channel>
<channel> AIRS-CH0 <config>/nowhere/airs.xml</config></channel></root>"""
DETECTOR = """<root><detector><dark_current> True </dark_current><dc_map_filename>/nowhere/dark_{name}.npy</dc_map_filename>
<read_noise> True </read_noise><read_noise_filename>/nowhere/read_{name}.npy</read_noise_filename>
<ADC_num_bit> 16 </ADC_num_bit></detector></root>"""


def write_simulation(folder: Path, *, pairs: int = 3, reads: int = 2, seed: int = 1, shapes: dict[str, Any] | None = None) -> Path:
    """ndr.h5 in `folder`, with maps and configuration; reads: of a ramp."""
    h5py = __import__("pytest").importorskip("h5py")
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with h5py.File(folder / "ndr.h5", "w") as file:
        for name, shape in (shapes or SHAPES).items():
            _write_channel(file.create_group(f"channels/{name}"), name, shape, pairs, reads, rng)
            np.save(folder / f"dark_{name}.npy", rng.lognormal(-1.0, 0.3, shape))
            np.save(folder / f"read_{name}.npy", np.abs(rng.normal(13.5, 1.0, shape)))
        file["info/exosim/file_name"] = "/nowhere/visits/4000000207_1/ndr.h5"
    (folder / "main.xml").write_text(MAIN)
    (folder / "sky.xml").write_text(SKY)
    (folder / "payload.xml").write_text(PAYLOAD)
    (folder / "fgs.xml").write_text(DETECTOR.format(name="FGS1"))
    (folder / "airs.xml").write_text(DETECTOR.format(name="AIRS-CH0"))
    return folder / "ndr.h5"


def _write_channel(group: Any, name: str, shape: tuple[int, int], pairs: int, reads: int, rng: np.random.Generator) -> None:
    first, between, cadence = TIMING.get(name, (0.1, 1.0, 10.0))
    lasts = np.tile([first, *[between / (reads - 1)] * (reads - 1)], pairs)
    starts = np.concatenate([i * cadence + np.cumsum([0.1, first, *[between / (reads - 1)] * (reads - 2)]) for i in range(pairs)])
    group["NDRs/data"] = rng.integers(400, 40000, (pairs * reads, *shape), dtype=np.uint16)
    group["NDRs/time"], group["NDRs/time_units"] = starts / 3600.0, "h"
    group["NDRs/metadata/integration_times/value"], group["NDRs/metadata/integration_times/unit"] = lasts, "s"
    group["NDRs/metadata/n_groups_per_ramp"] = reads
    group["NDRs/metadata/ADC/gain"], group["NDRs/metadata/ADC/offset"] = GAIN, OFFSET
    photometer = name == "FGS1" or "Phot" in name
    spectral = np.linspace(0.6, 0.8, shape[1]) if photometer else 1.74 + 0.0059 * np.arange(shape[1]) + 3e-6 * np.arange(shape[1]) ** 2
    group["NDRs/spectral"] = spectral
    group["NDRs/spatial"] = spectral if photometer else np.zeros(shape[0])
    group["simulation_data/qe_variation_map/data"] = rng.normal(1.0, 0.03, (1, *shape))
    dead = np.zeros(shape, bool)
    dead[3, 5] = dead[-1, -2] = True
    group["simulation_data/dead_pixel_map/dead_pixel_map"] = dead
    forward = np.array([1.0, -5e-7, -3e-13, -2e-19, -1e-25])[:, None, None] * rng.normal(1.0, 0.005, (5, *shape))
    group["simulation_data/pixel_non_linearity/map"] = forward
    group["simulation_data/pixel_non_linearity/saturation"] = WELL
