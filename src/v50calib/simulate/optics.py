"""The light on the detector: stellar spectrum, point-spread functions, pointing.

Levels and shapes were fitted to the mean of 25 linearized, flat-fielded CDS frames of one real visit. The spectrum is
the one seen at the detector: it includes the smearing by the PSF along x.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import erf

from v50calib.kernels.arrays import Float
from v50calib.kernels.compiler import nb
from v50calib.simulate.axes import FGS1_PER_AIRS, airs_wavelength
from v50calib.simulate.config import SimConfig

#: temperature of the star whose spectrum was measured, K
REFERENCE_TEFF_K = 4800.0
# fmt: off
#: AIRS-CH0 spectrum: (column, e- per column and CDS frame of 4.5 s), smoothed over pixel-scale structure
_SPECTRUM = np.array(
    [
        (0, 130), (12, 150), (20, 400), (28, 1500), (36, 4100), (48, 10300), (60, 15800),
        (80, 20900), (100, 23900), (130, 29100), (160, 36100), (190, 42600), (200, 48900), (210, 58100),
        (225, 72000), (240, 74800), (250, 80900), (260, 86800), (270, 97700), (280, 114700), (290, 135900),
        (296, 145600), (302, 145000), (307, 152600), (312, 166000), (315, 157000), (318, 126500), (322, 80500),
        (326, 47500), (332, 35600), (338, 34200), (344, 32700), (350, 9300), (355, 2200),
    ],
    dtype=np.float64,
)
# fmt: on
_AIRS_CDS_S = 4.5
#: AIRS-CH0 cross-dispersion profile: row of the trace; (value at 2.8 µm, slope per µm) of the core's sigma [px], of
#: the share of the Lorentzian wings and of their half width [px]
_TRACE_ROW = 15.5508
_CORE_SIGMA, _WING_SHARE, _WING_GAMMA = (1.674, -0.394), (0.746, -0.034), (0.825, 0.453)
#: FGS1: e-/s over the detector; position (x, y); (share, sigma [px]) of three round Gaussians
_FGS1_E_S = 2.203e6
_FGS1_XY = (15.30, 15.40)
_FGS1_PSF = np.array([(0.80, 1.095), (0.143, 2.936), (0.057, 7.81)])

#: cumulative profiles are tabulated at 32 phases of a row, out to the detector's edges (16 rows and a bit) and a margin
_PHASES, _TABLE_ROWS = 32, 18


def planck_photons(wavelength_um: Float, teff_k: float) -> Float:
    """Photon radiance of a black body, arbitrary units: wavelength^-4 / (exp(hc / wavelength k T) - 1).

    >>> hot, cold = (planck_photons(np.array([1.0, 4.0]), teff) for teff in (6000.0, 4000.0))
    >>> (hot / cold).round(2)  # a hotter star is bluer
    array([3.55, 1.78])
    """
    return np.asarray(wavelength_um**-4.0 / np.expm1(14387.77 / (wavelength_um * teff_k)))


def airs_spectrum(columns: Float, brightness: float, teff_k: float) -> Float:
    """Star light reaching AIRS-CH0 column positions (any shape, fractional allowed), e-/s per column.

    The measured spectrum, tilted by the ratio of two black bodies that are equal at the band's middle (2.5 µm),
    held constant beyond the detector's edge columns.

    >>> airs_spectrum(np.array([200.0]), brightness=1.0, teff_k=REFERENCE_TEFF_K) * _AIRS_CDS_S  # as measured
    array([48900.])
    """
    wavelength = airs_wavelength()
    middle = np.array([2.5])
    colour = planck_photons(wavelength, teff_k) / planck_photons(wavelength, REFERENCE_TEFF_K)
    colour *= planck_photons(middle, REFERENCE_TEFF_K) / planck_photons(middle, teff_k)
    knots = PchipInterpolator(_SPECTRUM[:, 0], _SPECTRUM[:, 1])
    column = np.arange(wavelength.size, dtype=np.float64)
    smooth = PchipInterpolator(column, knots(column) * colour)
    inside = np.clip(columns, 0.0, column[-1])
    return np.asarray(smooth(inside)) * (brightness / _AIRS_CDS_S)


def fgs1_flux(brightness: float) -> float:
    """Star light over the FGS1 detector, e-/s.

    >>> fgs1_flux(2.0) / fgs1_flux(1.0)
    2.0
    """
    return _FGS1_E_S * brightness


def airs_profile() -> Float:
    """[column, 4] core sigma, wing share, wing half width, and the profile's sum over the detector's rows at rest.

    >>> airs_profile().shape, bool((airs_profile()[:, 3] < 1.0).all())  # the wings reach beyond the detector
    ((356, 4), True)
    """
    offset = airs_wavelength() - 2.8
    shape = [value + slope * offset for value, slope in (_CORE_SIGMA, _WING_SHARE, _WING_GAMMA)]
    out = np.stack([*shape, np.ones_like(offset)], axis=1)
    rows = np.zeros((1, 32 * offset.size))
    airs_rates(np.ones((1, offset.size)), np.zeros(1), out, 0.0, np.ones(rows.size), rows)
    out[:, 3] = rows.reshape(32, -1).sum(axis=0)
    return out


def pointing(config: SimConfig, rng: np.random.Generator, airs_pairs: int) -> dict[str, Float]:
    """Displacement [pair, (x, y)] of the star from its nominal position, px, for each instrument.

    Both see the same motion: white jitter for every FGS1 pair, of which an AIRS pair sees the mean of its twelve, plus
    a drift (a line and two slow sine waves, scaled to `drift_px` rms).

    >>> moved = pointing(SimConfig(jitter_px=(0.0, 0.0), drift_px=0.05), np.random.default_rng(1), airs_pairs=200)["FGS1"]
    >>> moved.shape, moved.std(axis=0).round(6)
    ((2400, 2), array([0.05, 0.05]))
    """
    pairs = airs_pairs * FGS1_PER_AIRS
    jitter = rng.normal(size=(pairs, 2)) * np.array(config.jitter_px)
    phase = (np.arange(pairs) + 0.5)[:, None] / pairs
    drift = rng.normal(size=2) * (phase - 0.5) * 2.0
    for cycles in (0.7, 1.6):
        drift = drift + rng.normal(size=2) * 0.6 * np.sin(2 * np.pi * (cycles * phase + rng.random(2)))
    drift -= drift.mean(axis=0)
    drift *= config.drift_px / drift.std(axis=0)
    per_airs = (airs_pairs, FGS1_PER_AIRS, 2)
    airs = jitter.reshape(per_airs).mean(axis=1) * config.airs_scale + drift.reshape(per_airs).mean(axis=1)
    return {"AIRS-CH0": airs, "FGS1": jitter + drift}


def fgs1_rates(flux: Float, shift: Float, background: float, response: Float, out: Float) -> None:
    """Fill out[pair, 1024] with detected e-/s: (flux x PSF moved by shift[pair, (x, y)] + background) x response.

    shift  [pair, (x, y)], or [pair, (x, y), position]: then the light is the mean over the grid of all positions in x
           and all positions in y

    >>> out = np.empty((1, 1024))
    >>> fgs1_rates(np.array([1000.0]), np.zeros((1, 2)), 2.0, np.ones(1024), out)
    >>> round(out.sum() - 2.0 * 1024)  # most of the 1000 electrons a second
    995
    """
    _fgs1_rates(flux, np.ascontiguousarray(shift.reshape(flux.size, 2, -1)), _FGS1_XY[0], _FGS1_XY[1], _FGS1_PSF, background, response, out)


@nb.njit(cache=True)  # type: ignore[misc,unused-ignore]
def airs_rates(flux: Float, dy: Float, profile: Float, background: float, response: Float, out: Float) -> None:
    """Fill out[pair, 11392] with detected e-/s: (flux[pair, column] x row profile + background) x response[pixel].

    The profile is a Gaussian core and Lorentzian wings integrated over each pixel row in closed form.

    >>> out, profile = np.empty((1, 32 * 356)), airs_profile()
    >>> airs_rates(np.full((1, 356), 100.0), np.zeros(1), profile, 0.0, np.ones(out.size), out)
    >>> out.reshape(32, 356).sum(axis=0)[:3].round(9)  # all light of a column is on its rows
    array([100., 100., 100.])
    """
    rows, columns = 32, flux.shape[1]
    for k in range(flux.shape[0]):
        for c in range(columns):
            share, gamma = profile[c, 1], profile[c, 2]
            to_erf, level = 1.0 / (profile[c, 0] * math.sqrt(2.0)), flux[k, c] / profile[c, 3]
            low = 0.0
            for edge in range(rows + 1):
                u = edge - 0.5 - _TRACE_ROW - dy[k]
                high = (1.0 - share) * 0.5 * math.erf(u * to_erf) + share / math.pi * math.atan(u / gamma)
                if edge > 0:
                    p = (edge - 1) * columns + c
                    out[k, p] = (level * (high - low) + background) * response[p]
                low = high


def airs_cumulative(profile: Float, reach_px: float) -> Float:
    """Table [column, phase, row, (value, slope)] of each column's cumulative profile, for light moved by up to `reach_px`.

    Entry (phase, row) belongs to the distance row - margin + phase / 32 from the trace, where the margin is 18 rows and
    the reach. Cubic interpolation in it is right to 1e-9 of the light.

    >>> airs_cumulative(airs_profile(), reach_px=1.0).shape  # 33 phases; 19 rows to either side of the trace's
    (356, 33, 39, 2)
    """
    margin = _TABLE_ROWS + math.ceil(reach_px)
    at = np.arange(-margin, margin + 1.0) + np.arange(_PHASES + 1.0)[:, None] / _PHASES
    sigma, share, gamma = (profile[:, n, None, None] for n in range(3))
    value = (1.0 - share) * 0.5 * erf(at / (sigma * math.sqrt(2.0))) + share / math.pi * np.arctan(at / gamma)
    core = np.exp(-0.5 * (at / sigma) ** 2) / (sigma * math.sqrt(2.0 * math.pi))
    slope = (1.0 - share) * core + share / math.pi * gamma / (gamma**2 + at**2)
    return np.stack([value, slope / _PHASES], axis=-1)


@nb.njit(cache=True)  # type: ignore[misc,unused-ignore]
def blurred_airs_rates(flux: Float, dy: Float, table: Float, total: Float, background: float, response: Float, out: Float) -> None:
    """As airs_rates, with the row profile's mean over dy[pair, position].

    table, total  what airs_cumulative made for at least the largest |dy|; [column] the profile's sum at rest

    >>> out, profile = np.empty((1, 32 * 356)), airs_profile()
    >>> light, moved, table = np.full((1, 356), 100.0), np.array([[-0.3, 0.3]]), airs_cumulative(profile, reach_px=0.3)
    >>> blurred_airs_rates(light, moved, table, profile[:, 3], 0.0, np.ones(out.size), out)
    >>> out.reshape(32, 356).sum(axis=0)[:3].round(2)  # a little leaves the rows
    array([100., 100., 100.])
    """
    rows, columns, positions = 32, flux.shape[1], dy.shape[1]
    margin = table.shape[2] // 2
    below = np.empty(rows + 1)
    for c in range(columns):
        for k in range(flux.shape[0]):
            below[:] = 0.0
            for n in range(positions):
                at = margin - 0.5 - _TRACE_ROW - dy[k, n]
                first = math.floor(at)
                phase = int((at - first) * _PHASES)
                t = (at - first) * _PHASES - phase
                # cubic Hermite weights of the two values and the two slopes
                v1 = t * t * (3.0 - 2.0 * t)
                s0, s1 = t * (1.0 - t) * (1.0 - t), t * t * (t - 1.0)
                low, high = table[c, phase], table[c, phase + 1]
                for edge in range(rows + 1):
                    m = first + edge
                    below[edge] += (1.0 - v1) * low[m, 0] + v1 * high[m, 0] + s0 * low[m, 1] + s1 * high[m, 1]
            level = flux[k, c] / (total[c] * positions)
            for row in range(rows):
                p = row * columns + c
                out[k, p] = (level * (below[row + 1] - below[row]) + background) * response[p]


@nb.njit(cache=True)  # type: ignore[misc,unused-ignore]
def _fgs1_rates(flux: Float, shift: Float, x0: float, y0: float, psf: Float, background: float, response: Float, out: Float) -> None:
    size, positions = 32, shift.shape[2]
    px, py = np.empty((psf.shape[0], size)), np.empty((psf.shape[0], size))
    for k in range(flux.shape[0]):
        for g in range(psf.shape[0]):
            to_erf = 1.0 / (psf[g, 1] * math.sqrt(2.0))
            px[g], py[g] = 0.0, 0.0
            for n in range(positions):
                left, low = 0.0, 0.0
                for edge in range(size + 1):
                    right = 0.5 * math.erf((edge - 0.5 - x0 - shift[k, 0, n]) * to_erf)
                    high = 0.5 * math.erf((edge - 0.5 - y0 - shift[k, 1, n]) * to_erf)
                    if edge > 0:
                        px[g, edge - 1] += (right - left) / positions
                        py[g, edge - 1] += psf[g, 0] * flux[k] * (high - low) / positions
                    left, low = right, high
        for row in range(size):
            for column in range(size):
                light = background
                for g in range(psf.shape[0]):
                    light += py[g, row] * px[g, column]
                p = row * size + column
                out[k, p] = light * response[p]
