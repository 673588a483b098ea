"""Arrays of FITS files: images by the name or number of their extension, `FILE.fits::SCI`, columns of tables as `FILE.fits::TIMES/MID`.

Format: FITS standard 4.0; section 5.3: unsigned integers are signed ones with BZERO 2^(bits - 1).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from v50calib.array_files.header import Header, Sliceable, named
from v50calib.errors import DataError
from v50calib.untrusted.chunks import CHUNK_VALUES

_TYPES = {8: "u1", 16: "i2", 32: "i4", 64: "i8", -32: "f4", -64: "f8"}


@contextmanager
def opened_fits(path: Path, name: str | None) -> Iterator[tuple[Sliceable, Header]]:
    """An array and its header. Raises DataError: astropy is missing, no such array; ValueError where the file ends before its numbers.

    The axes come in the order of NumPy, NAXIS1 last: ramps as [integration, group, y, x].
    """
    with _opened(path) as opened:
        arrays = _arrays(opened)
        if not arrays:
            raise ValueError("it holds no image and no table")
        hdu, column = arrays[_alias(opened, name) or named(path, name, list(arrays))]
        _refuse_cut(path, hdu)
        yield _Column(hdu, column) if column else _Image(hdu), _table_header(hdu, column) if column else _image_header(hdu)


def header_value(path: Path, key: str) -> float | str:
    """The value of a key in the first header of a file that has it. Raises KeyError where none has, DataError without astropy."""
    with _opened(path) as hdus:
        found = next((hdu.header[key] for hdu in hdus if key in hdu.header), None)
    if found is None:
        raise KeyError(key)
    return found if isinstance(found, str) else float(found)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        from astropy.io import fits
    except ImportError as error:
        raise DataError(f"cannot read {path}: FITS needs astropy; pip install 'v50calib[fits]'") from error
    with warnings.catch_warnings():
        # what is wrong with a header is told where it matters, a cut file by its length
        warnings.simplefilter("ignore")
        with fits.open(path, mode="readonly", memmap=False, ignore_blank=True) as hdus:
            yield hdus


def _arrays(hdus: Any) -> dict[str, tuple[Any, str]]:
    """Every array of a file by its name: an extension's own, its number where that is taken or missing; (extension, column or nothing)."""
    found: dict[str, tuple[Any, str]] = {}
    for i, hdu in enumerate(hdus):
        label = hdu.name if hdu.name and hdu.name not in found else str(i)
        if hdu.is_image and hdu.shape:
            found[label] = hdu, ""
        elif not hdu.is_image and hasattr(hdu, "columns"):
            found |= {f"{label}/{column}": (hdu, column) for column in hdu.columns.names}
    return found


def _alias(hdus: Any, name: str | None) -> str | None:
    """The name of an extension that is given by its number, or in other letters; FITS has no small ones."""
    known = _arrays(hdus)
    if name is None or name in known:
        return name
    label, _, column = name.partition("/")
    if label.isdecimal() and int(label) < len(hdus):
        label = next((k.partition("/")[0] for k, (hdu, _) in known.items() if hdu is hdus[int(label)]), label)
    wanted = f"{label}/{column}" if column else label
    return next((k for k in known if k.upper() == wanted.upper()), None)


def _refuse_cut(path: Path, hdu: Any) -> None:
    info = hdu.fileinfo() or {}
    end, held = info.get("datLoc", 0) + hdu.size, path.stat().st_size
    if end > held:
        raise ValueError(f"its numbers end at byte {end}, and it has {held}: it was cut short")


def _image_header(hdu: Any) -> Header:
    head = hdu.header
    kind = np.dtype(_TYPES[head["BITPIX"]])
    scale, zero = head.get("BSCALE", 1), head.get("BZERO", 0)
    unsigned = kind.kind == "i" and scale == 1 and zero == 2 ** (8 * kind.itemsize - 1)
    packed = (scale != 1 or zero != 0) and not unsigned
    shape, units = tuple(hdu.shape), head.get("BUNIT")
    tile = getattr(hdu, "tile_shape", None)
    if tile is not None and math.prod(tile) > max(4 * math.prod(shape), CHUNK_VALUES):
        raise ValueError(f"its tiles {tuple(tile)} are larger than the array {shape}")
    dtype = np.dtype(f"u{kind.itemsize}") if unsigned else np.dtype(float) if packed else kind
    return Header(shape, dtype, None, tuple(map(int, tile)) if tile is not None else None, packed, str(units) if units else None)


def _table_header(hdu: Any, column: str) -> Header:
    one = hdu.columns[column]
    dtype = hdu.columns.dtype[column]
    base, inner = dtype.subdtype if dtype.subdtype is not None else (dtype, ())
    return Header((int(hdu.header["NAXIS2"]), *inner), base.newbyteorder("="), units=str(one.unit) if one.unit else None)


@dataclass(frozen=True)
class _Image:
    """An image, of which the frames that are asked for are read."""

    hdu: Any

    def __getitem__(self, index: tuple[slice | int, ...], /) -> Any:
        values = np.asarray(self.hdu.section[index])
        return values.astype(values.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class _Column:
    """A column of a table."""

    hdu: Any
    column: str

    def __getitem__(self, index: tuple[slice | int, ...], /) -> Any:
        values = np.array(self.hdu.data[self.column])[index]
        return values.astype(values.dtype.newbyteorder("="), copy=False)
