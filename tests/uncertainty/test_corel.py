"""CoRel: its attention layer is torch-geometric's, it starts as per-bin temperature, repeats itself, and tells when it does not win."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.uncertainty.test_simple import AFFINE, PER_BIN, fitted, gll, tables
from tests.uncertainty.worlds import make

from v50calib.errors import ConfigError, DataError
from v50calib.uncertainty.corel_graph import channel_wavelength, edge_attributes, neighbours
from v50calib.uncertainty.files import load_model, save_model
from v50calib.uncertainty.fit import fit
from v50calib.uncertainty.metrics import coverage
from v50calib.uncertainty.model import Inputs, apply
from v50calib.uncertainty.options import TopLevelCalib

torch = pytest.importorskip("torch", reason="torch is not installed (a CPU build of the extra v50calib[corel])")


def options(**fit_keys: Any) -> TopLevelCalib:
    model = {k: fit_keys.pop(k) for k in ("backend", "head", "hidden", "layers", "use_edge_features") if k in fit_keys}
    return TopLevelCalib.model_validate(
        {
            "method": "corel",
            "corel": {"ablation": fit_keys.pop("ablation", False), "model": model, "fit": fit_keys, "graph": {"k_proximity": 8}},
        }
    )


def test_neighbours_are_the_nearest_channels() -> None:
    index = neighbours(channel_wavelength(283), 8)
    assert index.shape == (283, 9)
    assert (index[:, 0] == np.arange(283)).all()
    assert set(index[100]) == set(range(96, 105))
    assert set(index[0]) == set(range(9))
    assert (neighbours(channel_wavelength(283), 0) == np.arange(283)[:, None]).all()
    with pytest.raises(ConfigError, match="more neighbours"):
        neighbours(channel_wavelength(8), 8)


@pytest.mark.parametrize("edge_width", [0, 2])
def test_attention_is_that_of_torch_geometric(edge_width: int) -> None:
    geometric = pytest.importorskip("torch_geometric.nn", reason="torch-geometric is not installed")
    from v50calib.uncertainty.corel_net import GraphAttention

    torch.manual_seed(0)
    wavelength = channel_wavelength(40)
    index = neighbours(wavelength, 6)
    mine = GraphAttention(5, 12, 3, edge_width)
    torch.nn.init.normal_(mine.bias)
    theirs = geometric.GATConv(5, 4, heads=3, add_self_loops=False, edge_dim=edge_width or None)
    with torch.no_grad():
        theirs.lin.weight.copy_(mine.linear.weight)
        theirs.att_src.copy_(mine.from_source[None])
        theirs.att_dst.copy_(mine.from_target[None])
        theirs.bias.copy_(mine.bias)
        if edge_width:
            theirs.lin_edge.weight.copy_(mine.edge_linear.weight)
            theirs.att_edge.copy_(mine.from_edge[None])
    x = torch.randn(4, 40, 5)
    edges = torch.from_numpy(edge_attributes(wavelength, index).astype(np.float32))
    pairs = torch.tensor(np.stack([index.ravel(), np.repeat(np.arange(40), 7)]))
    out = mine(x, torch.from_numpy(index), edges if edge_width else None)
    expected = [theirs(part, pairs, edges.reshape(-1, 2) if edge_width else None) for part in x]
    torch.testing.assert_close(out, torch.stack(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("head", ["scale", "quantile"])
def test_epoch_zero_is_temperature_per_bin(head: str) -> None:
    from v50calib.uncertainty.corel_fit import log_scale, train

    rng = np.random.default_rng(0)
    z, x = rng.normal(size=(20, 283)), rng.normal(size=(20, 283, 3))
    cfg = options(epochs=0, head=head).corel
    trained = train(z, x, np.arange(15), np.arange(15, 20), cfg)
    assert trained.best_epoch == 0
    np.testing.assert_allclose(log_scale(trained, x, cfg), 0.0, atol=1e-6)


@pytest.mark.parametrize("head", ["scale", "quantile"])
def test_the_network_learns_a_scale_that_is_there(head: str) -> None:
    from v50calib.uncertainty.corel_fit import log_scale, train

    rng = np.random.default_rng(1)
    x = rng.normal(size=(120, 60, 2))
    true = 0.4 * x[:, :, 0]
    z = rng.normal(size=true.shape) * np.exp(true)
    cfg = options(epochs=15, head=head, hidden=8, layers=1).corel
    trained = train(z, x, np.arange(80), np.arange(80, 100), cfg)
    assert trained.best_loss < trained.first_loss
    found = log_scale(trained, x[100:], cfg)
    assert np.corrcoef(found.ravel(), true[100:].ravel())[0, 1] > 0.9
    assert np.sqrt(np.mean((found - true[100:]) ** 2)) < 0.2


def test_a_seed_fixes_every_number_and_the_file_keeps_it(tmp_path: Path) -> None:
    s = make("features", 120, 3)
    predictions, truth, features = tables(s)
    setting = options(epochs=2, hidden=8, layers=1)
    state = torch.get_rng_state()
    one, two = (fit(predictions, truth, setting, features) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(one.scale.T, two.scale.T)
    order = np.random.default_rng(0).permutation(120)
    shuffled = fit(predictions.take(order), truth, setting, features)
    np.testing.assert_array_equal(one.scale.T, shuffled.scale.T)
    save_model(tmp_path / "m.npz", one)
    back = load_model(tmp_path / "m.npz")
    first, second = apply(one, predictions, features), apply(back, predictions, features)
    np.testing.assert_array_equal(first.predictions.sigma, second.predictions.sigma)
    assert first.bands is not None
    assert second.bands is not None
    np.testing.assert_array_equal(first.bands.low, second.bands.low)
    with pytest.raises(DataError, match="fitted with the features scatter, but none are given"):
        apply(back, predictions)


@pytest.mark.slow
def test_features_are_worth_more_with_the_graph() -> None:
    whole = make("features", 700, 41)
    calibration, test = whole.take(slice(0, 300)), whole.take(slice(300, None))
    graph, bare = (fitted(calibration, options(epochs=20, backend=b), with_features=True) for b in ("gatconv", "none"))
    assert graph.used == "corel"
    assert gll(graph, test) > gll(bare, test) + 0.04
    assert gll(graph, test) > gll(fitted(calibration, PER_BIN), test) + 0.06
    assert graph.bands is not None
    bands = graph.bands(Inputs(test.mu, test.sigma, test.features))
    assert coverage(test.y, bands.low, bands.high)[0] == pytest.approx(0.9, abs=0.015)


def test_where_it_does_not_win_affine_is_used_and_said() -> None:
    """Covariates that say nothing: the network can only lose."""
    s = make("gaussian", 200, 5)
    model = fitted(s, options(epochs=6, hidden=8, layers=1, ablation=True))
    assert set(model.report) == {"none", "global T", "per-bin T", "affine", "corel, no edges", "corel, gatconv"}
    assert model.report["per-bin T"]["gll"] > model.report["none"]["gll"] + 0.3
    if model.used == "affine":
        assert any("affine is used" in note for note in model.notes)
        assert gll(model, s) == pytest.approx(gll(fitted(s, AFFINE), s), abs=1e-9)
    else:
        assert gll(model, s) > gll(fitted(s, AFFINE), s) - 0.01
    with pytest.raises(DataError, match="corel needs at least 100 planets with truth, but there are 99"):
        fitted(s.take(slice(0, 99)), options())


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("corel_fit", "corel_net"):
        monkeypatch.delitem(sys.modules, f"v50calib.uncertainty.{name}", raising=False)
    import v50calib.uncertainty as package

    monkeypatch.delattr(package, "corel_fit", raising=False)
    with pytest.raises(DataError, match=r"pip install 'v50calib\[corel\]'"):
        fitted(make("gaussian", 120, 0), options())
