"""The peer on the same files: `ariel-data-preprocessing`, the challenge's procedure as a package, where it is installed.

Its `DataProcessor` needs FGS1 brought to the length of AIRS-CH0 (1 pair of 12: it refuses anything else), handles
visit 0 only and ends at one smoothed and standardized light curve per wavelength: no variances or flags, no background, no pointing,
no folding or depths. It brings TensorFlow and works with pandas 2.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq

PACKAGE = "ariel_data_preprocessing"
NAME = "peer: ariel-data-preprocessing"
#: its default smoothing window in pairs; it cannot be longer than the visit
WINDOW = 200


def problem() -> str | None:
    """Why the peer cannot run here; None where it can."""
    if find_spec(PACKAGE) is None:
        return "not installed"
    found = version("pandas")
    # it writes into `.values` of a table, which pandas 3 gives read-only; its worker dies and its writer waits for ever
    return f"needs pandas < 3, found {found}" if int(found.split(".")[0]) >= 3 else None


def load() -> None:
    """Import it, so that no timed call does: it imports TensorFlow."""
    import ariel_data_preprocessing.data_preprocessing  # noqa: F401


def calibrate_root(data: Path, out: Path) -> None:
    """The first planet that it finds, with its defaults, one worker process, HDF5 in out/train.h5."""
    from ariel_data_preprocessing.data_preprocessing import DataProcessor

    planet = next(p for p in (data / "train").iterdir())
    frames = {i: pq.read_metadata(planet / f"{i}_signal_0.parquet").num_rows for i in ("AIRS-CH0", "FGS1")}
    processor = DataProcessor(
        input_data_path=str(data),
        output_data_path=str(out),
        airs_frames=frames["AIRS-CH0"],
        fgs_frames=frames["FGS1"],
        smoothing_window=min(WINDOW, frames["AIRS-CH0"] // 4),
        downsample_fgs=True,
        n_cpus=1,
        n_planets=1,
    )
    processor.run()
    if not (out / "train.h5").is_file():
        raise RuntimeError("the peer wrote nothing: its worker process failed")
