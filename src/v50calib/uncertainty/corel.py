"""CoRel: relational calibration. Networks over channels predict the log scale beyond the per-bin T, always beside the baselines.

Planets are split in two. One network is fitted on each half and judged on the other: out-of-fold residuals choose how much of
it is blended with affine (0: fall back to affine, with a note), and sigma of new planets uses both networks. Intervals use the
first half's network alone, so that the other half stays exchangeable with new planets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from v50calib.kernels.arrays import Float, Index
from v50calib.uncertainty.affine import shrunk_shift
from v50calib.uncertainty.bands import affine_scale, make_bands, split_planets
from v50calib.uncertainty.covariates import covariates, prepared_features, standardizer
from v50calib.uncertainty.metrics import gaussian_log_density
from v50calib.uncertainty.model import Calibrator, Inputs, Ratio, Scale, corel_module, summed
from v50calib.uncertainty.options import CorelOptions, TopLevelCalib
from v50calib.uncertainty.temperature import fit_temperature, need

#: fewer planets are refused
MIN_PLANETS = 100
#: bounds of T around a network or slopes
WIDE = (1e-3, 1e3)
#: shares of the network in the blend with affine that are tried
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
#: standard normal quantile of a central 90 % interval
Z_90 = 1.6448536269514722


@dataclass(frozen=True)
class Half:
    """What was fitted on one half of the planets: its rows, the rows that trained the network, the network, and plain affine."""

    rows: Index
    training: Index
    network: Ratio
    affine: Scale

    @property
    def slopes(self) -> Ratio:
        return self.affine.parts[0][1]


def fit_corel(inputs: Inputs, y: Float, options: TopLevelCalib, names: tuple[str, ...], notes: list[str]) -> Calibrator:
    """Fit, compare with the simple methods, fall back to affine if not better. Raises DataError below 100 planets or without torch."""
    need(len(y), MIN_PLANETS, "corel")
    module, cfg = corel_module(), options.corel
    rest, held = split_planets(len(y), cfg.fit.conformal_fraction, cfg.fit.seed)
    first = fit_half(inputs, y, rest, options, cfg, module)
    second = fit_half(inputs, y, held, options, cfg, module)
    fresh = np.setdiff1d(rest, first.training)
    # the held-out half must not choose the scale of its own quantiles: the first half's validation planets do
    band_share = best_share(inputs, y, [(first, fresh)])
    band_scale = refitted(blend(band_share, (first.network,), first.slopes), inputs, y, rest, fresh)
    bands = make_bands(band_scale, inputs.take(held), y[held], cfg, notes) if cfg.conformal.enabled else None
    share = best_share(inputs, y, [(first, held), (second, rest)])
    if share == 0.0:
        notes.append("corel is not better than affine on planets that it was not fitted on: affine is used")
    elif share < 1.0:
        notes.append(f"log sigma is {share:.0%} the network's and {1 - share:.0%} affine's: best on planets that they were not fitted on")
    full = affine_scale(replace(inputs, features=None), y, options.affine)
    parts = blend(share, (first.network, second.network), full.parts[0][1])
    scale = full if share == 0.0 else refitted(parts, inputs, y, np.arange(len(y)), None, out_of_fold(inputs, first, second, share))
    report = comparison(inputs, y, rest, held, first, options)
    if cfg.ablation and cfg.model.backend != "none":
        bare = cfg.model_copy(update={"model": cfg.model.model_copy(update={"backend": "none"})})
        report["corel, no edges"] = network_row(inputs, y, fit_half(inputs, y, rest, options, bare, module), held)
    report[f"corel, {cfg.model.backend}"] = network_row(inputs, y, first, held)
    notes += _better_baseline(report, cfg.model.backend)
    return Calibrator("corel", "corel" if share > 0 else "affine", len(y), scale, bands, names, report, tuple(notes))


def fit_half(inputs: Inputs, y: Float, rows: Index, options: TopLevelCalib, corel: CorelOptions, module: Any) -> Half:
    """Network and plain affine of the planets `rows`; a share of them stops the training."""
    training, validation = split_planets(len(rows), corel.fit.early_stop.validation_fraction, corel.fit.seed + 2)
    own, own_y = inputs.take(rows), y[rows]
    features, positive = prepared_features(own.features)
    values = covariates(own.mu, own.sigma, features)
    standard = standardizer(values)
    z = (own_y - own.mu) / own.sigma
    z = z - shrunk_shift(z)
    T = fit_temperature(z, per_bin=True, clamp=WIDE).T
    trained = module.train(z / T, standard(values), training, validation, corel)
    network = Ratio(standard, positive, 1, network=trained.arrays, options=corel)
    return Half(rows, rows[training], network, affine_scale(replace(own, features=None), own_y, options.affine))


def blend(share: float, networks: tuple[Ratio, ...], slopes: Ratio) -> tuple[tuple[float, Ratio], ...]:
    """Parts of log sigma'/sigma: the networks' mean with `share`, affine with the rest; parts of no weight are left out.

    >>> one = standardizer(np.ones((1, 1, 1)))
    >>> network = slopes = Ratio(one, np.zeros(0, bool), 1, slopes=np.zeros(1))
    >>> [weight for weight, _ in blend(0.5, (network, network), slopes)]
    [0.25, 0.25, 0.5]
    """
    parts = (*((share / len(networks), n) for n in networks), (1.0 - share, slopes))
    return tuple((w, r) for w, r in parts if w > 0)


def best_share(inputs: Inputs, y: Float, judged: list[tuple[Half, Index]]) -> float:
    """The share with the largest likelihood on planets that each half was not fitted on, every T_b at its optimum; ties: less network."""
    gain = np.zeros(len(SHARES))
    for half, rows in judged:
        own = inputs.take(rows)
        z = (y[rows] - own.mu) / own.sigma - half.affine.shift
        network, slopes = half.network(own), half.slopes(own)
        for i, share in enumerate(SHARES):
            g = share * network + (1.0 - share) * slopes
            T = fit_temperature(z * np.exp(-g), per_bin=True, clamp=WIDE).T
            gain[i] -= float((g + np.log(T) + 0.5 * np.square(z * np.exp(-g) / T)).mean()) * len(rows)
    return SHARES[int(np.argmax(gain))]


def out_of_fold(inputs: Inputs, first: Half, second: Half, share: float) -> Float:
    """log sigma'/sigma of every planet by the half that was not fitted on it, (planet, bin)."""
    out = np.empty_like(inputs.mu)
    for half, rows in ((first, second.rows), (second, first.rows)):
        out[rows] = summed(blend(share, (half.network,), half.slopes), inputs.take(rows))
    return out


def refitted(
    parts: tuple[tuple[float, Ratio], ...], inputs: Inputs, y: Float, rows: Index, fresh: Index | None, unseen: Float | None = None
) -> Scale:
    """T and shift around fitted parts: deviations over bins from the planets `rows`; the level from planets that the parts were
    not fitted on, `fresh`, or from ratios (planet, bin) by parts that were not fitted on that planet, `unseen`."""
    own = inputs.take(rows)
    z, ratio = (y[rows] - own.mu) / own.sigma, summed(parts, own)
    shift = shrunk_shift(z, np.exp(-2.0 * ratio))
    T = fit_temperature((z - shift) * np.exp(-ratio), per_bin=True, clamp=WIDE).T
    if unseen is not None:
        level = (z - shift) * np.exp(-unseen) / T
    else:
        assert fresh is not None
        other = inputs.take(fresh)
        level = ((y[fresh] - other.mu) / other.sigma - shift) * np.exp(-summed(parts, other)) / T
    return Scale(np.asarray(T * np.sqrt(np.mean(np.square(level)))), shift, parts)


def comparison(inputs: Inputs, y: Float, rest: Index, held: Index, first: Half, options: TopLevelCalib) -> dict[str, dict[str, float]]:
    """GLL and 90 % coverage of the simple methods on the held-out planets, each fitted on the planets that the network was fitted on."""
    own, own_y, others = inputs.take(rest), y[rest], inputs.take(held)
    z, bins = (own_y - own.mu) / own.sigma, y.shape[1]
    none = np.zeros(bins)
    rows = {
        "none": Scale(np.ones(bins), none),
        "global T": Scale(fit_temperature(z, clamp=WIDE).T, none),
        "per-bin T": Scale(fit_temperature(z, per_bin=True, clamp=WIDE).T, none),
        "affine": first.affine,
    }
    if inputs.features is not None:
        rows[f"affine, features over {options.affine.smooth_bins} bins"] = affine_scale(own, own_y, options.affine)
    return {name: row(s, others, y[held]) for name, s in rows.items()}


def network_row(inputs: Inputs, y: Float, half: Half, held: Index) -> dict[str, float]:
    """GLL and 90 % coverage of the network alone, not blended."""
    fresh = np.setdiff1d(half.rows, half.training)
    return row(refitted(((1.0, half.network),), inputs, y, half.rows, fresh), inputs.take(held), y[held])


def row(scale: Scale, inputs: Inputs, y: Float) -> dict[str, float]:
    """Mean log-likelihood and coverage of mu ± 1.645 sigma.

    >>> residual = np.array([[0.5], [-0.5], [2.0], [-1.0]])
    >>> row(Scale(np.ones(1), np.zeros(1)), Inputs(np.zeros((4, 1)), np.ones((4, 1))), residual)["coverage_90"]
    0.75
    """
    mu, sigma = scale(inputs)
    gll = float(gaussian_log_density(y, mu, sigma).mean())
    return {"gll": gll, "coverage_90": float((np.abs(y - mu) <= Z_90 * sigma).mean())}


def _better_baseline(report: dict[str, dict[str, float]], backend: str) -> list[str]:
    own = report[f"corel, {backend}"]["gll"]
    name, best = max(((n, r["gll"]) for n, r in report.items() if not n.startswith("corel")), key=lambda item: item[1])
    return [f"on the held-out planets '{name}' is better than the network alone (GLL {best:.4f} against {own:.4f})"] if best > own else []
