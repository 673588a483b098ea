"""Several detectors read together, [time, channel, y, x]: one Dataset of them all, and its parts.

A channel is a detector of its own, with its own maps, gain, wavelength and photometry. So stages and products know
nothing of channels: a joined Dataset is split, calibrated channel by channel, and joined again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import xarray as xr

from v50calib.errors import DataError
from v50calib.schema import with_channel

#: attribute of a joined visit: the attributes of each channel's own visit, JSON
CHANNELS_ATTR = "channels"


def join_visits(instrument: str, parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """One raw visit with `channel` before y, x, joined from the visits of an instrument's channels, in their order.

    Raises DataError where one is a band and another a spectrum.

    >>> def visit(number):
    ...     attrs = {"channel": number, "instrument": f"CAM.C{number}", "adc_offset": 0.0, "adc_gain": 1.0 + number, "detector": "CAM"}
    ...     return xr.Dataset({"frames": (("time", "y", "x"), np.zeros((2, 4, 5)))}, {"wavelength": 1.0 + number}, attrs)
    >>> joined = join_visits("CAM", [visit(1), visit(0)])
    >>> joined["frames"].dims, joined["channel"].values.tolist(), [part.attrs["adc_gain"] for part in split_visit(joined)]
    (('time', 'channel', 'y', 'x'), ['C0', 'C1'], [1.0, 2.0])
    """
    ordered = sorted(parts, key=lambda ds: int(ds.attrs["channel"]))
    if len({ds["wavelength"].ndim for ds in ordered}) > 1:
        raise DataError(
            f"{instrument} has channels that are bands and channels that are spectra: open them one by one, e.g. "
            f"instrument='{ordered[0].attrs['instrument']}'"
        )
    every = [ds.attrs for ds in ordered]
    shared = {k: v for k, v in every[0].items() if all(a.get(k) == v for a in every) and k != "channel"}
    # where constants differ between channels, the joined visit has the first one's; the parts have their own
    attrs = {**{k: every[0][k] for k in ("adc_offset", "adc_gain", "detector")}, **shared, "instrument": instrument}
    joined = _concat([ds.drop_attrs(deep=False) for ds in ordered], "channel").assign_attrs(attrs, **{CHANNELS_ATTR: json.dumps(every)})
    names = [str(a["instrument"]).rpartition(".")[2] for a in every]
    return _in_order(joined.assign_coords(channel=("channel", names)))


def is_joined(ds: xr.Dataset) -> bool:
    """Whether a Dataset holds several channels.

    >>> is_joined(xr.Dataset({"frames": (("time", "channel", "y", "x"), np.zeros((2, 3, 4, 4)))}))
    True
    """
    return "channel" in ds.dims


def split_visit(ds: xr.Dataset) -> list[xr.Dataset]:
    """The raw visits of a joined Dataset's channels, each with its own attributes. Raises DataError where these are lost."""
    every = json.loads(ds.attrs.get(CHANNELS_ATTR, "[]"))
    if len(every) != ds.sizes["channel"]:
        raise DataError(
            f"the visit has {ds.sizes['channel']} channels, but its attribute '{CHANNELS_ATTR}' describes {len(every)}: select channels "
            "with open_visit(..., instrument='NAME.CHANNEL'), which keeps what belongs to each"
        )
    return [
        ds.isel(channel=i).drop_vars("channel", errors="ignore").drop_attrs(deep=False).assign_attrs(attrs) for i, attrs in enumerate(every)
    ]


def each_channel(ds: xr.Dataset, calibrate: Callable[[xr.Dataset], xr.Dataset]) -> xr.Dataset:
    """`calibrate` on each channel's raw visit, joined: bands along `wavelength`, everything else along `channel`.

    Lazy where `calibrate` is. Raises DataError for products of spectra, which have a wavelength axis each.
    """
    visits = split_visit(ds)
    done = [calibrate(visit) for visit in visits]
    spectra = "wavelength" in done[0].dims
    if spectra and ds["wavelength"].ndim > 1:
        raise DataError(
            f"{ds.attrs['instrument']} has {len(visits)} spectra, each with its own wavelengths: calibrate channel by channel with "
            f"open_visit(..., instrument='{visits[0].attrs['instrument']}'), or stop at pipeline.until('cds')"
        )
    shared = {
        "time",
        "exposure",
        "bin_time",
        "frame_time",
        "frame_exposure",
        *(n for n in visits[0].coords if visits[0][n].dims == ("time",)),
    }
    loose = [d.reset_coords([n for n in d.coords if n not in shared and n not in d.dims]) for d in done]
    by_band = [str(n) for n, v in loose[0].variables.items() if "wavelength" in v.dims]
    joined = _concat([d.drop_vars(by_band).drop_attrs(deep=False) for d in loose], "channel")
    if by_band:
        joined = joined.merge(_concat([d[by_band].reset_coords(drop=True) for d in loose], "wavelength"), join="exact", compat="override")
    joined = joined.assign_coords(channel=ds["channel"].variable).assign_attrs(ds.attrs)
    return _in_order(joined.set_coords([n for n in ("wavelength", "bin_phase") if n in joined.variables]))


def _concat(parts: Sequence[xr.Dataset], dim: str) -> xr.Dataset:
    coords = ["wavelength"] if dim == "channel" and "wavelength" in parts[0].coords else "minimal"
    return xr.concat(parts, dim=dim, data_vars="all", coords=coords, compat="override", join="exact", combine_attrs="drop")


def _in_order(ds: xr.Dataset) -> xr.Dataset:
    """Every variable with `channel` where the schema has it: before y, x, else last."""
    variables = {}
    for name, var in ds.variables.items():
        if "channel" in var.dims and var.ndim > 1:
            rest = tuple(str(d) for d in var.dims if d != "channel")
            variables[name] = var.transpose(*(with_channel(rest) if "y" in rest else (*rest, "channel")))
    return ds.assign(variables)
