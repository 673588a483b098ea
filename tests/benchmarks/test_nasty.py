"""The checker of the nasty campaign finds what is wrong; the campaign itself, one of each kind (slow)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def on_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PROJECT))
        yield


def test_the_checker_tells_what_is_not_as_it_must_be() -> None:
    from benchmarks.nasty import Fit, Unit, judge

    fine = Unit("done", z=0.5, depths=b"a")
    lost = Unit("done", said=("lost_pairs 0.1 > 0.01",), z=9.0)
    spoiled = {"1/0/FGS1": "block of pairs all 0", "2/0/FGS1": "file cut short", "3/0/FGS1": "pandas index in the file"}
    units = {"1/0/FGS1": lost, "2/0/FGS1": Unit("failed", ("the parquet file is cut",)), "3/0/FGS1": fine, "4/0/FGS1": fine}
    before = dict.fromkeys(units, fine)
    fits = {"4": Fit({"FGS1": 1.0, "bands": -3.0}, (), b"f")}

    def faults(label: str, unit: Unit) -> list[str]:
        return judge({**units, label: unit}, fits, spoiled, before, fits).faults

    assert judge(units, fits, spoiled, before, fits).faults == []
    # nothing said, 9 sigma off; another reason; no product where there must be one; a product where there must be none
    assert any("wrong by +9.0" in f for f in faults("1/0/FGS1", replace(lost, said=())))
    assert any("another reason: drift_px" in f for f in faults("1/0/FGS1", replace(lost, said=("drift_px 3 > 0.5",))))
    assert any("ended as 'absent'" in f for f in faults("2/0/FGS1", Unit("absent")))
    assert any("ended as 'quiet'" in f for f in faults("2/0/FGS1", fine))
    assert any("another reason" in f for f in faults("2/0/FGS1", Unit("failed", ("the disk is full",))))
    assert any("not the same" in f for f in faults("3/0/FGS1", replace(fine, depths=b"b")))
    assert any("differs from the unspoiled" in f for f in faults("4/0/FGS1", replace(fine, depths=b"b")))
    assert any("without a word" in f for f in faults("4/0/FGS1", replace(fine, z=-7.0)))
    assert any("is good and failed" in f for f in faults("4/0/FGS1", Unit("failed", ("why",))))
    assert any("1 of 1 good ones distrusted" in f for f in faults("4/0/FGS1", replace(fine, said=("fit_chi2 2 > 1.5",))))


def test_the_checker_reads_fits_of_planets() -> None:
    from benchmarks.nasty import Fit, judge

    off = Fit({"bands": 8.0}, ())
    assert any("the fit of 7" in f and "bands +8.0" in f for f in judge({}, {"7": off}, {}, {}, {}).faults)
    assert judge({}, {"7": replace(off, told=("contacts_seen 0.2 < 0.9",))}, {}, {}, {}).faults == []
    assert any("differs" in f for f in judge({}, {"7": Fit({}, (), b"b")}, {}, {}, {"7": Fit({}, (), b"a")}).faults)


def test_spoiled_frames_are_what_they_are_called() -> None:
    from benchmarks import spoil

    rng = np.random.default_rng(1)
    frames = np.arange(40 * 6, dtype=np.uint16).reshape(40, 6) * 10 + 100
    changed = spoil.repeated(frames.copy(), rng)
    differs = np.flatnonzero((changed != frames).any(axis=1))
    assert differs.size
    assert (changed[differs] == np.tile(changed[differs[0] - 2 : differs[0]], (differs.size // 2, 1))).all()
    np.testing.assert_array_equal(spoil.swapped(frames.copy(), rng, whole=True)[::2], frames[1::2])
    np.testing.assert_array_equal(spoil.halves(frames)[20:], frames[:20])
    assert (spoil.filled(frames.copy(), 65535, rng) == 65535).all(axis=1).sum() >= 2
    second = spoil.dip(1001, 0.5, 0.2, 0.01)
    assert second.min() == pytest.approx(0.99)
    assert (second[:399] == 1).all()
    assert spoil.flare(1001, 0.5, 0.02, 0.05)[[499, 500]].tolist() == pytest.approx([1.0, 1.02])
    on = spoil.switched_on(frames.copy(), 1, 500, rng)
    assert set(np.unique(on - frames.astype(np.int64))) == {0, 500}
    assert (on[::2] == frames[::2]).all()


def test_a_spoiled_copy_leaves_the_clean_dataset_as_it_was(tmp_path: Path) -> None:
    from benchmarks.nasty import labels_of, spoil_dataset

    from v50calib.simulate import simulate_dataset

    clean = simulate_dataset(tmp_path / "clean", planets=3, frames_fraction=0.002, seed=5)
    before = {p: p.read_bytes() for p in clean.rglob("*") if p.is_file()}
    names = ["pairs repeated", "flat of 0", "id as a float"]
    spoiled = spoil_dataset(clean, tmp_path / "data", 4, 1, names)
    assert set(spoiled.values()) == set(names)
    assert set(spoiled) <= set(labels_of(clean))
    assert {p: p.read_bytes() for p in before} == before
    again = spoil_dataset(clean, tmp_path / "again", 4, 1, names)
    assert again == spoiled
    files = [p.relative_to(tmp_path / "data") for p in (tmp_path / "data").rglob("*") if p.is_file()]
    changed = [p for p in files if (tmp_path / "data" / p).read_bytes() != (clean / p).read_bytes()]
    assert len(changed) == 3
    assert all((tmp_path / "again" / p).read_bytes() == (tmp_path / "data" / p).read_bytes() for p in files)
    assert json.loads((clean / "truth.json").read_text())["planets"]


@pytest.mark.slow
def test_one_of_each_kind_in_one_run(tmp_path: Path) -> None:
    from benchmarks.nasty import campaign
    from benchmarks.nasty_kinds import KINDS

    found, _ = campaign(tmp_path, 72, 0.9, 0.02, 5, 0)
    assert set(found.rows) == set(KINDS)
    # too few good ones for a share of 1 %
    assert [f for f in found.faults if "good ones distrusted" not in f] == []
    assert len(found.alarms) <= 1
