"""Several visits of one planet and instrument folded together: mean transit, odd and even transits compared, river plot.

Visits have no common clock, only hours since their own start: each is aligned on its own mid-transit time, and the
period is common to all. Works on calibrated visits as `open_calibrated` gives them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from v50calib.errors import DataError
from v50calib.kernels.folding import bin_of, inverse_variance_mean
from v50calib.kernels.series import bin_mean

#: what a calibrated visit must hold to be folded
NEEDED = ("trace_norm", "trace_norm_var", "mid_transit_time", "transit_duration", "white_depth", "white_depth_sigma")


def river(visits: Sequence[xr.Dataset], *, nbins: int = 100, span: float = 1.5) -> xr.Dataset:
    """White light curves of several transits, one row each: what a river plot shows.

    visits   calibrated visits of one planet and instrument
    nbins    bins of equal length between -span/2 and span/2
    span     hours from mid-transit on the axis, in units of the longest T14

    Returns flux (visit, phase_bin), its variance, the number of pairs, phase_h (phase_bin) in hours from mid-transit and
    phase in cycles (NaN where no period is known). A row without a transit found is left out; bins that a visit does not
    reach are NaN. Raises DataError where the visits do not belong together or none has a transit.

    >>> time = np.linspace(0.0, 7.5, 750)
    >>> def visit(number, mid):
    ...     flux = 1.0 - 0.01 * (np.abs(time - mid) < 1.0)[:, None]
    ...     series = {"trace_norm": (("pair", "wavelength"), flux), "trace_norm_var": (("pair", "wavelength"), 0 * flux + 1e-6)}
    ...     numbers = {"mid_transit_time": mid, "transit_duration": 2.0, "white_depth": 0.01, "white_depth_sigma": 1e-4}
    ...     out = {"out_of_transit": ("pair", np.abs(time - mid) > 1.0)}
    ...     attrs = {"planet_id": "7", "instrument": "FGS1", "visit": number}
    ...     return xr.Dataset(series | numbers | out, {"time": ("pair", time)}, attrs)
    >>> rows = river([visit(0, 3.6), visit(1, 3.9)], nbins=3)  # visits of different mid-transit times, aligned
    >>> rows["flux"].values.round(3)  # half of the outer bins is in transit
    array([[0.995, 0.99 , 0.995],
           [0.995, 0.99 , 0.995]])
    """
    used = _usable(visits)
    reach = 0.5 * span * max(float(v["transit_duration"]) for v in used)
    edges = np.linspace(-reach, reach, nbins + 1)
    rows = [_binned_row(v, edges) for v in used]
    flux, var, count = (np.stack(part) for part in zip(*rows, strict=True))
    centre = 0.5 * (edges[1:] + edges[:-1])
    return xr.Dataset(
        {
            "flux": (("visit", "phase_bin"), flux, {"long_name": "white light over its out-of-transit level"}),
            "flux_var": (("visit", "phase_bin"), var, {"long_name": "variance of flux"}),
            "count": (("visit", "phase_bin"), count, {"long_name": "CDS pairs in the bin"}),
        },
        coords={
            "visit": ("visit", [int(v.attrs["visit"]) for v in used]),
            "phase_h": ("phase_bin", centre, {"units": "h", "long_name": "time since mid-transit"}),
            "phase": ("phase_bin", centre / _period_h(used), {"long_name": "orbital phase, 0 at mid-transit"}),
        },
        attrs={"planet_id": used[0].attrs["planet_id"], "instrument": used[0].attrs["instrument"], "period_h": _period_h(used)},
    )


def fold(visits: Sequence[xr.Dataset], *, nbins: int = 100, span: float = 1.5, epochs: Sequence[int] | None = None) -> xr.Dataset:
    """Transits of several visits folded on their common period: the mean of all, of the odd and of the even ones.

    epochs   number of each visit's orbit, in the order of `visits`; default: the visit's own number
    others   as `river`

    Returns the river and the inverse-variance means flux_all, flux_odd, flux_even (phase_bin) with variances (NaN
    where no visit of that parity reaches), and as attributes the weighted depth of the odd and the even transits with
    their errors and odd_even_sigma, their difference in units of its error: for a planet it is 0, for an
    eclipsing binary of twice the period it is not. Raises DataError as `river`, and where epochs do not match the visits.

    >>> time = np.linspace(0.0, 7.5, 750)
    >>> def visit(number, mid, depth):
    ...     flux = 1.0 - depth * (np.abs(time - mid) < 1.0)[:, None]
    ...     series = {"trace_norm": (("pair", "wavelength"), flux), "trace_norm_var": (("pair", "wavelength"), 0 * flux + 1e-6)}
    ...     numbers = {"mid_transit_time": mid, "transit_duration": 2.0, "white_depth": depth, "white_depth_sigma": 1e-4}
    ...     out = {"out_of_transit": ("pair", np.abs(time - mid) > 1.0)}
    ...     attrs = {"planet_id": "7", "instrument": "FGS1", "visit": number}
    ...     return xr.Dataset(series | numbers | out, {"time": ("pair", time)}, attrs)
    >>> folded = fold([visit(0, 3.6, 0.0100), visit(1, 3.9, 0.0102), visit(2, 3.7, 0.0100)])
    >>> round(folded.attrs["depth_even"], 9), round(folded.attrs["depth_odd"], 9), round(folded.attrs["odd_even_sigma"], 3)
    (0.01, 0.0102, 1.633)
    """
    numbers = [int(v.attrs["visit"]) for v in visits] if epochs is None else list(epochs)
    if len(numbers) != len(visits):
        raise DataError(f"{len(numbers)} epochs for {len(visits)} visits: give one orbit number for each visit, in their order")
    out = river(visits, nbins=nbins, span=span)
    used = [(v, n) for v, n in zip(visits, numbers, strict=True) if _has_transit(v)]
    parity = np.array([n % 2 for _, n in used])
    depth = np.array([float(v["white_depth"]) for v, _ in used])
    variance = np.array([float(v["white_depth_sigma"]) ** 2 for v, _ in used])
    attrs: dict[str, float] = {}
    for name, rows in (("all", np.ones(parity.shape, bool)), ("odd", parity == 1), ("even", parity == 0)):
        mean, var = inverse_variance_mean(out["flux"].to_numpy()[rows], out["flux_var"].to_numpy()[rows])
        out[f"flux_{name}"], out[f"flux_{name}_var"] = ("phase_bin", mean), ("phase_bin", var)
        d, v = inverse_variance_mean(depth[rows], variance[rows])
        attrs |= {f"depth_{name}": float(d), f"depth_{name}_sigma": float(np.sqrt(v))}
    difference = attrs["depth_odd"] - attrs["depth_even"]
    attrs["odd_even_sigma"] = difference / float(np.hypot(attrs["depth_odd_sigma"], attrs["depth_even_sigma"]))
    return out.assign_attrs(attrs).assign_coords(epoch=("visit", [n for _, n in used]))


def _has_transit(visit: xr.Dataset) -> bool:
    return bool(np.isfinite(float(visit["mid_transit_time"])) and np.isfinite(float(visit["white_depth"])))


def _usable(visits: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """The visits with a transit. Raises DataError where variables are missing or the visits are of several planets or instruments."""
    for visit in visits:
        missing = [n for n in NEEDED if n not in visit]
        if missing:
            raise DataError(f"this visit lacks {missing}: fold takes calibrated visits of a run with trace and phase on")
    for key in ("planet_id", "instrument"):
        found = sorted({str(v.attrs[key]) for v in visits})
        if len(found) > 1:
            raise DataError(f"the visits are of several {key}s ({', '.join(found)}): fold those of one planet and instrument together")
    used = [v for v in visits if _has_transit(v)]
    if not used:
        raise DataError(f"none of the {len(visits)} visits has a transit to align on: give calib.phase.ephemeris and calibrate again")
    return used


def _period_h(visits: Sequence[xr.Dataset]) -> float:
    """Common period [h]: the star's, the same for all visits of a planet; NaN where unknown."""
    known = [p for v in visits if np.isfinite(p := float(v.attrs.get("ephemeris_period_h", np.nan)))]
    return float(np.median(known)) if known else float("nan")


def _binned_row(visit: xr.Dataset, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """White light of one visit in bins of hours from mid-transit: mean, variance, count."""
    flux, var = (np.asarray(visit[n], dtype=np.float64) for n in ("trace_norm", "trace_norm_var"))
    outside = np.asarray(visit["out_of_transit"], dtype=bool)
    level = np.mean(flux[outside], axis=0) if outside.any() else np.ones(flux.shape[1])
    white, white_var = inverse_variance_mean(flux / level, np.mean(var, axis=0) / level**2 * np.ones_like(flux), axis=1)
    index = bin_of(np.asarray(visit["time"]) - float(visit["mid_transit_time"]), edges)
    mean, count = bin_mean(np.stack([white, white_var], axis=1), index, len(edges) - 1)
    return mean[:, 0], mean[:, 1] / np.maximum(count[:, 0], 1.0), count[:, 0].astype(np.int64)
