"""CDS on time-stamped reads: shuffled, gappy and incomplete visits, the modes' baselines, repair and filters in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import uniform_filter1d
from tests.stages.detector import SHAPE, Detector, cds_of, pipeline
from tests.stages.test_frame_methods import CODE, prepared

from v50calib.dq import DQ
from v50calib.engine.visit import visit_input
from v50calib.errors import ConfigError, DataError


def lit(pairs: int = 24) -> Detector:
    """A detector whose light tells the pairs apart."""
    detector = Detector(pairs=pairs)
    detector.light = 1.0 + 0.01 * np.arange(pairs)
    return detector


def order_of(ds: xr.Dataset, **cds: Any) -> Any:
    """(visit, frames) in the order of their pairs."""
    pipe = pipeline(cds=cds)

    class Stored:
        n_frames = ds.sizes["time"]

    return pipe.engine.ordered(visit_input(ds), Stored())  # type: ignore[arg-type]


BY_TIME = {"pairing": {"order_by": "timestamp", "policy": "nearest"}}


@pytest.mark.parametrize("policy", ["even_odd", "n_minus_1", "nearest", "time_window"])
def test_every_policy_is_the_natural_pairing_on_the_challenge_s_order(policy: str) -> None:
    ds = lit().visit()
    pairing = {"policy": policy, "order_by": "timestamp", "window_s": 1.5}
    visit, frames = order_of(ds, pairing=pairing)
    assert visit.notes == []
    assert not hasattr(frames, "order")
    np.testing.assert_array_equal(cds_of(ds, cds={"pairing": pairing}), cds_of(ds))


@pytest.mark.parametrize("policy", ["even_odd", "n_minus_1", "nearest"])
def test_shuffled_frames_are_paired_by_their_stamps(policy: str) -> None:
    detector = lit()
    ds = detector.visit()
    shuffled = ds.isel(time=np.random.default_rng(4).permutation(ds.sizes["time"]))
    section = {"pairing": {"order_by": "timestamp", "policy": policy}}
    out = pipeline(cds=section)(shuffled.chunk(time=6)).compute(scheduler="sync")
    np.testing.assert_allclose(out["cds_corrected"], detector.truth(), atol=CODE)
    stamps, between = ds["time"].to_numpy(), ds["exposure"].to_numpy()[1::2] - ds["exposure"].to_numpy()[0::2]
    close = stamps[1::2] - stamps[0::2] < between / 7200  # the stamp of the second read is where the exposure begins
    middle = np.where(close, stamps[1::2] + between / 7200, 0.5 * (stamps[0::2] + stamps[1::2]))
    np.testing.assert_allclose(out["time"], middle - stamps[0], rtol=1e-12)
    with pytest.raises(DataError, match="second read of a ramp must be the longer one"):
        cds_of(shuffled)


@pytest.mark.parametrize("policy", ["n_minus_1", "nearest"])
def test_lost_reads_are_left_out_and_counted(policy: str) -> None:
    """Reads 4 (a reset), 11 (a second read) and 20-23 (two whole ramps) are missing: an odd or even number of frames, with a gap."""
    detector = lit()
    ds = detector.visit()
    lost = [4, 11, 20, 21, 22, 23]
    kept = [i for i in range(ds.sizes["time"]) if i not in lost]
    cds = {"pairing": {"order_by": "timestamp", "policy": policy, "window_s": 1.5}}
    out = pipeline(cds=cds)(ds.isel(time=kept)).compute(scheduler="sync")
    whole = [k for k in range(24) if k not in (2, 5, 10, 11)]
    np.testing.assert_allclose(out["cds_corrected"], detector.truth()[whole], atol=CODE)
    visit, _ = order_of(ds.isel(time=kept), **cds)
    assert visit.notes == ["cds: 2 of 42 reads have no partner and are left out"]
    assert visit.qc["cds"]["unpaired"] == 2
    assert visit.qc["cds"]["largest_gap_s"] == pytest.approx(6.0)


def test_a_missing_first_frame_is_a_direction() -> None:
    detector = lit()
    ds = detector.visit().isel(time=slice(1, None))
    cds = {"pairing": {"even_odd": {"direction": "even_minus_odd"}}}
    out = pipeline(cds=cds)(ds)["cds_corrected"].compute(scheduler="sync")
    np.testing.assert_allclose(out, detector.truth()[1:], atol=CODE)
    with pytest.raises(DataError, match="the count must be even"):
        pipeline()(ds)


def test_resets_by_their_flag() -> None:
    """Three reads a ramp: the flag says which is the reset; every later read is measured against it."""
    detector = Detector(pairs=6, read_s=(0.1, 1.1))
    detector.rate *= 0.5
    detector.light = 1.0 + 0.1 * np.arange(6)
    ds = detector.visit()
    exposure = np.tile([0.1, 1.1, 1.6], 6)
    per_second = np.repeat(detector.light, 3)[:, None, None] * detector.rate * detector.flat + detector.dark
    linear = per_second * exposure[:, None, None]
    frames = np.rint((linear + 100.0) * 8.0).astype(np.uint16)
    many = ds.drop_vars(["raw_frames", "exposure", "time"]).assign(
        raw_frames=(("time", "y", "x"), frames), exposure=("time", exposure), is_reset=("time", exposure < 0.5)
    )
    many = many.assign_coords(time=(2.0 * np.repeat(np.arange(6), 3) + exposure) / 3600)
    cds = {"cds": {"mode": "reset_signal"}, "reset_signal": {"reset_flag_key": "is_reset"}}
    out = cds_of(many, cds=cds)
    expected = detector.light[:, None, None, None] * detector.rate * np.array([1.0, 1.5])[:, None, None]
    np.testing.assert_allclose(out, expected.reshape(-1, *SHAPE), atol=CODE)
    steps = cds_of(many, cds={"cds": {"mode": "frame_diff"}})
    np.testing.assert_allclose(steps[1::2], detector.light[:, None, None] * 0.5 * detector.rate, atol=CODE)
    with pytest.raises(ConfigError, match="has no such variable on its time axis"):
        cds_of(ds, cds=cds)


def test_a_reset_may_be_borrowed_from_the_next_ramp() -> None:
    detector = Detector()
    ds = detector.visit().isel(time=[i for i in range(48) if i != 4])
    cds = {"pairing": {"order_by": "timestamp", "policy": "time_window", "window_s": 1.2}}
    visit, _ = order_of(ds, **cds)
    assert visit.notes == ["cds: 1 pairs take the reset that follows their read, of another ramp: they share no electrons"]
    np.testing.assert_allclose(cds_of(ds, cds=cds), detector.truth(), atol=CODE)


@pytest.mark.parametrize(
    ("cds", "said"),
    [
        ({"pairing": {"keep_unpaired": True}}, "a read without a partner has no difference"),
        ({"pairing": {"policy": "time_window"}}, "needs window_s"),
        ({"reset_signal": {"subtract_signal_minus_reset": False}}, "makes starlight negative"),
        ({"reset_signal": {"reset_flag_key": "r"}}, "goes with cds.mode=reset_signal"),
        ({"cds": {"mode": "reset_signal"}, "pairing": {"policy": "even_odd"}}, "by position: use nearest or auto"),
        ({"cds": {"mode": "reset_signal"}, "reset_signal": {"require_temporal_proximity": True}}, "needs pairing.window_s"),
        ({"reset_signal": {"require_temporal_proximity": True}}, "goes with cds.mode=reset_signal"),
        ({"temporal_filter": {"window_pairs": 10}}, "must be odd"),
        ({"temporal_filter": {"kind": "bandpass", "window_pairs": 5, "short_pairs": 7}}, "smaller than window_pairs=5"),
    ],
)
def test_what_has_no_sense_is_refused(cds: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pipeline(cds=cds)
    assert said in str(caught.value)


def test_proximity_of_resets_may_be_required() -> None:
    """A ramp has lost its reset: its read is left out, or stops the visit. A ramp that has lost its read is no fault."""
    detector = Detector()
    cds = {"cds": {"mode": "reset_signal"}, "pairing": {"window_s": 1.2}}
    required = cds | {"reset_signal": {"require_temporal_proximity": True}}
    lost_reset = detector.visit().isel(time=[i for i in range(48) if i != 4])
    visit, _ = order_of(lost_reset, **cds)
    assert visit.notes == ["cds: 1 of 47 reads have no partner and are left out"]
    with pytest.raises(DataError, match=r"1 of 24 reads have no reset within .*window_s=1.2 \(first of them frame 4; .* is 3 s away\)"):
        order_of(lost_reset, **required)
    lost_read = detector.visit().isel(time=[i for i in range(48) if i != 5])
    np.testing.assert_array_equal(cds_of(lost_read, cds=required), cds_of(lost_read, cds=cds))


def test_a_window_too_narrow_leaves_no_pair() -> None:
    with pytest.raises(DataError, match=r"no two of 48 frames make a CDS pair .* window_s=0.5"):
        cds_of(Detector().visit(), cds={"pairing": {"policy": "nearest", "window_s": 0.5}})


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"max_unpaired_fraction": 0.01}, "of the reads have no partner"),
        ({"require_monotonic_timestamps": True}, "time stamps fall or repeat"),
        ({"max_time_gap_s": 3.0}, "pairs lie up to 6 s apart"),
    ],
)
def test_pairing_integrity(bounds: dict[str, Any], said: str) -> None:
    ds = lit().visit().isel(time=[*range(20), *range(24, 47)])
    ds = ds.isel(time=[1, 0, *range(2, 43)])
    guard = {"enabled": True, "pairing_integrity": bounds}
    cds = {"pairing": {"order_by": "timestamp", "policy": "nearest"}, "quality_checks": guard}
    visit, _ = order_of(ds, **cds)
    assert any(said in note for note in visit.notes)
    with pytest.raises(DataError, match=said):
        order_of(ds, **(cds | {"quality_checks": guard | {"action_on_fail": "error"}}))


# modes with a baseline of their own


def drifting(pairs: int = 40) -> Detector:
    """Reset level that is noisy from ramp to ramp and the same in both reads of one."""
    detector = Detector(pairs=pairs)
    detector.light = 1.0 - 0.02 * (np.arange(pairs) > pairs // 2)
    return detector


@pytest.mark.parametrize("baseline", ["median", "mean"])
@pytest.mark.parametrize("exclude", [True, False])
def test_rolling_window_is_the_read_less_its_neighbours_first_reads(baseline: str, exclude: bool) -> None:
    detector = drifting()
    detector.extra = detector.rng.normal(0, 3.0, (80, *SHAPE))
    ds = detector.visit()
    flat = pipeline().until("flat")(ds)["flat_corrected"].compute(scheduler="sync").to_numpy()
    first, second = flat[0::2], flat[1::2]
    rolling = {"baseline": baseline, "half_window": 3, "exclude_center": exclude}
    out = cds_of(ds, cds={"cds": {"mode": "rolling_window"}, "rolling_window": rolling})
    for i in range(40):
        near = [j for j in range(max(0, i - 3), min(40, i + 4)) if not (exclude and j == i)]
        expected = second[i] - getattr(np, baseline)(first[near], axis=0)
        np.testing.assert_allclose(out[i], expected, atol=1e-9)
    notes = prepared(ds, cds={"cds": {"mode": "rolling_window"}}).state.notes
    assert any("ingress and egress are smeared" in note for note in notes)


def test_reference_frames() -> None:
    detector = drifting()
    ds = detector.visit()
    flat = pipeline().until("flat")(ds)["flat_corrected"].compute(scheduler="sync").to_numpy()
    first, second = flat[0::2], flat[1::2]
    static = {"cds": {"mode": "reference_frame"}}
    frame = prepared(ds, cds=static)
    np.testing.assert_allclose(cds_of(ds, cds=static), second - frame.plan.constants[-1].reference, atol=1e-9)
    # sample pairs of a visit of 40: three runs of 13 from its start, middle and end
    sample = np.r_[0:13, 13:26, 27:40]
    np.testing.assert_allclose(frame.plan.constants[-1].reference, first[sample].mean(axis=0), rtol=1e-12)
    assert any("depths come out 1.100 times too large" in note for note in frame.state.notes)
    running = {"cds": {"mode": "reference_frame"}, "reference_frame": {"strategy": "running", "window_pairs": 5}}
    out = cds_of(ds, cds=running)
    for i in range(40):
        np.testing.assert_allclose(out[i], second[i] - first[max(0, i - 4) : i + 1].mean(axis=0), atol=1e-9)


def test_the_noise_of_a_baseline_is_predicted() -> None:
    """Photon and read noise of a blank-resets baseline against the scatter: variances add, since no electrons are shared. 3 %."""
    detector = Detector(pairs=600, read_s=(0.5, 1.5))
    detector.rate, detector.dark, detector.flat = np.full(SHAPE, 900.0), np.zeros(SHAPE), np.ones(SHAPE)
    rng = detector.rng
    light = np.full((600, *SHAPE), 900.0)
    n1 = rng.poisson(0.5 * light)
    reads = np.empty((1200, *SHAPE))
    reads[0::2], reads[1::2] = n1, n1 + rng.poisson(light)
    reads += rng.normal(0, 2.0, reads.shape)
    detector.extra = reads - detector.electrons()
    cds = {"cds": {"mode": "rolling_window"}, "rolling_window": {"baseline": "mean", "half_window": 4, "exclude_center": True}}
    pipe = pipeline(cds=cds)
    chained = pipe.until("cds")(detector.visit()).compute(scheduler="sync")
    predicted = (chained["cds_corrected_var_poisson"] + chained["cds_corrected_var_rnoise"]).to_numpy()[10:-10].mean()
    measured = chained["cds_corrected"].to_numpy()[10:-10].var(axis=0).mean()
    print(f"predicted {predicted:.1f} e-2, measured {measured:.1f} e-2")
    assert abs(measured / predicted - 1) < 0.03


# outliers, filters, normalization


def test_outliers_are_flagged_and_replaced_but_never_a_transit() -> None:
    detector = Detector(pairs=90)
    detector.light = 1.0 - 0.03 * (np.abs(np.arange(90) - 45) < 20)
    noise = detector.rng.normal(0, 2.0, (180, *SHAPE))
    detector.extra = noise
    clean = cds_of(detector.visit())
    # two more pairs at the steps themselves, where a careless test would flag ingress and egress
    where = [(3, 1, 1), (25, 4, 4), (45, 8, 8), (65, 2, 9)]
    for t, y, x in where:
        detector.extra[2 * t + 1, y, x] += 300.0
    detector.extra[2 * 80 + 1, 0, 0] -= 300.0
    where.append((80, 0, 0))
    ds = detector.visit()
    for robust in ({"sigma_clip": {"enabled": True}}, {"outlier_replace": {"enabled": True}}):
        pipe = pipeline(cds={"robust": robust})
        chained = pipe.until("cds")(ds).compute(scheduler="sync")
        outlier = (chained["cds_corrected_frame_dq"].to_numpy() & DQ.OUTLIER).astype(bool)
        assert sorted(map(tuple, np.argwhere(outlier).tolist())) == sorted(where)
        out = pipe(ds)["cds_corrected"].compute(scheduler="sync").to_numpy()
        np.testing.assert_allclose(out[~outlier], clean[~outlier], rtol=1e-13)
        if "outlier_replace" in robust:
            # a straight line across a step of 3 % of 4000 e- misses half of it
            assert np.abs(out[outlier] - clean[outlier]).max() < 0.5 * 0.03 * 4000 + 5 * 2.0 * 2 / 0.8
        else:
            assert np.abs(out[outlier] - clean[outlier]).min() > 200


@pytest.mark.parametrize("kind", ["highpass", "bandpass"])
def test_filters_equal_scipy_and_warn(kind: str) -> None:
    detector = Detector(pairs=60)
    detector.extra = detector.rng.normal(0, 20.0, (120, *SHAPE))
    ds = detector.visit()
    plain = cds_of(ds)
    cds = {"temporal_filter": {"enabled": True, "kind": kind, "window_pairs": 21, "short_pairs": 5}}
    kept = plain if kind == "highpass" else uniform_filter1d(plain, 5, axis=0)
    frame = prepared(ds, cds=cds)
    expected = kept - uniform_filter1d(plain, 21, axis=0) + frame.plan.constants[-1].level
    np.testing.assert_allclose(cds_of(ds, cds=cds)[10:-10], expected[10:-10], atol=1e-9)
    assert any("a transit first of all" in note for note in frame.state.notes)


@pytest.mark.parametrize("method", ["mad", "global_median", "per_channel_median"])
def test_normalization(method: str) -> None:
    detector = Detector(pairs=30)
    detector.extra = detector.rng.normal(0, 20.0, (60, *SHAPE))
    ds = detector.visit()
    plain = cds_of(ds)
    out = pipeline(cds={"normalization": {"method": method}})(ds)["cds_corrected"].compute(scheduler="sync")
    if method == "mad":
        scale: Any = 1.4826022185056018 * np.median(np.abs(plain - np.median(plain, axis=0)), axis=0)
        assert out.attrs["units"] == "sigma"
    elif method == "global_median":
        scale = np.median(plain.sum(axis=(1, 2)))
        assert out.attrs["units"] == "1"
    else:
        scale = np.median(plain.sum(axis=1), axis=0)
    np.testing.assert_allclose(out, plain / scale, rtol=1e-12)
    with pytest.raises(ConfigError, match="photometry's noise model needs them"):
        pipeline(cds={"normalization": {"method": method}}, photometry={"enabled": True})
