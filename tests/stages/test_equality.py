"""Chained stages, tiled pipeline, any even chunking, parquet and Zarr roots: the same numbers."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from simulated import planet_of

from v50calib import Pipeline, open_visit
from v50calib.errors import ConfigError, DataError

INSTRUMENTS = ["AIRS-CH0", "FGS1"]
#: float32 storage: one unit in the last place either way
FLOAT32 = 2.4e-7


def assert_same(a: xr.Dataset, b: xr.Dataset, names: list[str] | None = None, rtol: float = FLOAT32) -> None:
    for name in names if names is not None else [str(n) for n in a.data_vars]:
        x, y = a[name].to_numpy(), b[name].to_numpy()
        if x.dtype.kind == "f":
            scale = np.nanmax(np.abs(y)) if y.size and np.isfinite(y).any() else 1.0
            np.testing.assert_allclose(x, y, rtol=4 * rtol, atol=rtol * scale * 1e-2, err_msg=name)
        else:
            np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.from_profile("calib/nominal", ["output.cubes=both"])


@pytest.fixture(scope="module")
def tiled(dataset: Path, pipeline: Pipeline) -> dict[str, xr.Dataset]:
    return {i: pipeline(open_visit(dataset, planet_of(dataset), 1, i)).compute() for i in INSTRUMENTS}


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_chained_stages_equal_the_tiled_pipeline(dataset: Path, pipeline: Pipeline, tiled: dict[str, xr.Dataset], instrument: str) -> None:
    ds = open_visit(dataset, planet_of(dataset), 1, instrument)
    chained = pipeline.until("cds")(ds)
    cube = tiled[instrument]["cds_corrected"].to_numpy()
    good = np.isfinite(cube)
    np.testing.assert_allclose(cube[good], chained["cds_corrected"].to_numpy()[good], rtol=FLOAT32, atol=1e-5)
    np.testing.assert_array_equal(chained["pixel_dq"], tiled[instrument]["pixel_dq"])
    series = pipeline.until("phase")(ds).compute()
    assert_same(series, tiled[instrument])


@pytest.mark.parametrize("instrument", INSTRUMENTS)
@pytest.mark.parametrize("chunk", [2, 26, 100, 10_000])
def test_any_even_chunking_gives_the_same(
    dataset: Path, pipeline: Pipeline, tiled: dict[str, xr.Dataset], instrument: str, chunk: int
) -> None:
    chunk = chunk * (12 if instrument == "FGS1" else 1)
    other = pipeline(open_visit(dataset, planet_of(dataset), 1, instrument, chunks=chunk)).compute()
    assert_same(other, tiled[instrument])


def test_odd_chunks_are_refused(dataset: Path, pipeline: Pipeline) -> None:
    ds = open_visit(dataset, planet_of(dataset))
    with pytest.raises(DataError, match="splits a CDS pair"):
        pipeline(ds.chunk(time=51))


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_store_equals_dataset(dataset: Path, store: Path, pipeline: Pipeline, tiled: dict[str, xr.Dataset], instrument: str) -> None:
    ds = open_visit(store, planet_of(dataset), 1, instrument)
    xr.testing.assert_identical(ds.compute(), open_visit(dataset, planet_of(dataset), 1, instrument).compute())
    assert_same(pipeline(ds).compute(), tiled[instrument], rtol=0)


@pytest.mark.parametrize("profile", ["fast", "nominal", "strict", "official"])
def test_building_computes_nothing(dataset: Path, profile: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was computed while building")

    pipeline = Pipeline.from_profile(f"calib/{profile}")
    for instrument in INSTRUMENTS:
        ds = open_visit(dataset, planet_of(dataset), 0, instrument)
        with dask.config.set(scheduler=refuse):
            pipeline(ds)
            pipeline.until("cds")(ds)
            pipeline.until("flat")(ds)


def test_each_stage_leaves_its_own_variables(dataset: Path, pipeline: Pipeline) -> None:
    ds = pipeline.until("cds")(open_visit(dataset, planet_of(dataset), 0, "FGS1"))
    for key in ("adc_corrected", "dark_corrected", "flat_corrected", "cds_corrected"):
        assert {key, f"{key}_var_poisson", f"{key}_var_rnoise", f"{key}_frame_dq"} <= set(ds.data_vars)
    assert ds["cds_corrected"].sizes["pair"] * 2 == ds.sizes["frame"]
    # one name for the time of pairs, as in a product
    assert (ds["time"].dims, ds["frame_time"].dims) == (("pair",), ("frame",))
    assert "cds_corrected" not in pipeline.until("flat")(open_visit(dataset, planet_of(dataset), 0, "FGS1"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("calib.adc.enabled=false", "leaves the frames in ADU"),
        ("calib.cds.enabled=false", "leaves single reads"),
        ("calib.trace.enabled=false", "needs the normalized light curves"),
        ("calib.photometry.enabled=false", "needs the light curves"),
    ],
)
def test_an_order_without_sense_is_refused_when_built(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pipeline.from_profile("calib/nominal", [override])


def test_a_method_without_sense_on_an_instrument_is_refused(dataset: Path) -> None:
    pipeline = Pipeline.from_profile("calib/nominal", ["calib.photometry.photometry.method=optimal"])
    with pytest.raises(ConfigError, match="FGS1 has none"):
        pipeline(open_visit(dataset, planet_of(dataset), 0, "FGS1"))
