"""The truth file `truth.json`: what went into a simulated dataset, and its keys.

```
version                1
config                 every field of SimConfig
planets                one entry a planet, in the dataset's order:
  planet_id, index     the id in the tables; its number in the dataset (seeds the random streams)
  star                 true Rs, Ms, Ts, Mp, e, P [d], sma [a/Rs], i [deg] (star_info states them perturbed)
  brightness           light level relative to the real sample
  depth                [283] (Rp/Rs)^2 of wl_1..wl_283 (also in train.csv)
  u1, u2               [283] quadratic limb darkening
  duration_h           first to fourth contact of the deepest channel
  visits               one entry a visit:
    visit, t0_h        number; mid-transit, hours since the start of the visit on the clock of axis_info
    adc_offset, adc_gain
    instruments        AIRS-CH0 and FGS1, each with
      white_depth          mean depth weighted by the star's electrons over the science columns
      star_e_per_s         star light over the detector, out of transit
      pointing_rms_px      rms of (x, y) over the visit
      jitter_rms_px        the same after a cubic trend in time is taken out
      background_e_per_s   per pixel
      cosmic_ray_samples   (pair, pixel) samples that were hit
      dead_yx, hot_yx      pixel positions
      gain_drift           null, or rms, waves (amplitude, frequency_rad_h, phase), level, along_columns: all light is
                           multiplied by 1 + rms (sum amplitude cos(frequency t + phase) - level) L(x), with t [h] and L
                           the Legendre series of along_columns at x = -1..1 from the first column to the last
      exposure_jitter_rms_px   rms of (x, y) about the pairs' mean positions, within the exposures
      background_tilt      what the background gains from the middle to the last row, column; relative to its mean
      lost_frames          [frame, code] of frames that are all 0 or all 65535
      low_light_pairs      pairs in which the star gives 10 % less light
      clipped_reads        (frame, pixel) samples at the converter's full scale 65535, lost frames aside
      clipped_pixels       pixels that have any
      streams              seed and spawn key (planet, visit, instrument, purpose) of each effect's random numbers
```

Not part of the truth file because they are exact: the calibration maps state the detector that made the frames
(except that dead pixels collect no light, whatever the flat says).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from v50calib.errors import DataError
from v50calib.simulate.config import SimConfig
from v50calib.simulate.visit import Scene
from v50calib.untrusted.json_text import load_json

VERSION = 1
FILE_NAME = "truth.json"


def planet_truth(scenes: Sequence[Scene], instruments: Sequence[Mapping[str, dict[str, Any]]]) -> dict[str, Any]:
    """One planet's entry from the scenes of its visits and their instruments' truths (same order)."""
    planet = scenes[0].planet
    visits = [
        {
            "visit": scene.visit,
            "t0_h": scene.t0_h,
            "adc_offset": scene.adc_offset,
            "adc_gain": scene.adc_gain,
            "instruments": dict(sorted(parts.items())),
        }
        for scene, parts in zip(scenes, instruments, strict=True)
    ]
    return {
        "planet_id": planet.planet_id,
        "index": scenes[0].index,
        "star": planet.star,
        "brightness": planet.brightness,
        "depth": planet.depth.tolist(),
        "u1": planet.u1.tolist(),
        "u2": planet.u2.tolist(),
        "duration_h": planet.duration_h,
        "visits": visits,
    }


def write_truth(root: Path, config: SimConfig, planets: Sequence[dict[str, Any]]) -> Path:
    """Write ROOT/truth.json and return its path."""
    path = root / FILE_NAME
    content = {"version": VERSION, "config": dataclasses.asdict(config), "planets": list(planets)}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def read_truth(root: str | Path) -> dict[str, Any]:
    """Read ROOT/truth.json. Raises DataError where there is none (a real dataset) or its version is unknown.

    >>> read_truth("nowhere")
    Traceback (most recent call last):
    v50calib.errors.DataError: ...
    """
    path = Path(root) / FILE_NAME
    if not path.is_file():
        raise DataError(f"{path} does not exist: only simulated datasets carry their truth; use one from `simulate`")
    content: dict[str, Any] = load_json(path.read_text(encoding="utf-8"))
    if content.get("version") != VERSION:
        raise DataError(f"{path} has version {content.get('version')!r}, this program reads {VERSION}: simulate the dataset again")
    return content
