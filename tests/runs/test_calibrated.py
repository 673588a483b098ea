from __future__ import annotations

import subprocess
import sys


def test_what_open_calibrated_returns_draws_itself_in_a_fresh_process() -> None:
    code = "from v50calib import open_calibrated; import xarray as xr; print(xr.Dataset(attrs={'visit': 3}).v50.plot)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "figures of ?/3/?\n"
