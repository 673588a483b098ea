"""Quadratic limb darkening from a table that is not the law which the fits start from.

The numbers are made up: no model atmosphere was integrated for them. They are plausible because they follow what
published tables of FGK dwarfs show (Claret 2011-2017; ExoTiC-LD and LDTk write such tables) and a power law cannot:
u1 falls steeply up to 1.6 µm, where the opacity of H- is least and the light comes from deep, and slowly beyond; u2 has
its maximum there; cool stars are darker at the limb in the visible and less different in the infrared. Against
v50calib.kernels.limb, u1 is lower by 0.03-0.1 and u2 higher by 0.02-0.13 over most of 0.6-4 µm for 4500-7000 K.
"""

from __future__ import annotations

import numpy as np

from v50calib.kernels.arrays import Float

_TEFF_K = np.array([3500.0, 4500.0, 5500.0, 6500.0, 7500.0])
_WAVELENGTH_UM = np.array([0.5, 0.6, 0.7, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.0, 3.6, 4.5, 6.0, 8.0])
# fmt: off
#: [temperature, wavelength]
_U1 = np.array(
    [
        [0.690, 0.640, 0.560, 0.470, 0.365, 0.275, 0.150, 0.115, 0.095, 0.082, 0.072, 0.058, 0.046, 0.036],
        [0.685, 0.580, 0.485, 0.412, 0.312, 0.225, 0.130, 0.105, 0.088, 0.075, 0.065, 0.052, 0.041, 0.032],
        [0.545, 0.450, 0.380, 0.325, 0.245, 0.178, 0.108, 0.092, 0.078, 0.064, 0.053, 0.044, 0.034, 0.026],
        [0.430, 0.358, 0.300, 0.255, 0.190, 0.135, 0.080, 0.070, 0.058, 0.049, 0.041, 0.034, 0.026, 0.020],
        [0.350, 0.295, 0.245, 0.205, 0.150, 0.105, 0.062, 0.053, 0.045, 0.038, 0.032, 0.026, 0.020, 0.015],
    ]
)
_U2 = np.array(
    [
        [0.120, 0.150, 0.195, 0.235, 0.260, 0.280, 0.310, 0.270, 0.225, 0.195, 0.170, 0.145, 0.115, 0.090],
        [0.105, 0.165, 0.210, 0.235, 0.255, 0.268, 0.285, 0.245, 0.205, 0.178, 0.155, 0.132, 0.105, 0.082],
        [0.200, 0.240, 0.260, 0.268, 0.270, 0.268, 0.262, 0.225, 0.188, 0.163, 0.142, 0.120, 0.095, 0.074],
        [0.275, 0.295, 0.302, 0.300, 0.292, 0.275, 0.250, 0.212, 0.176, 0.152, 0.132, 0.111, 0.088, 0.068],
        [0.315, 0.325, 0.322, 0.316, 0.300, 0.275, 0.240, 0.202, 0.168, 0.144, 0.125, 0.105, 0.083, 0.064],
    ]
)
# fmt: on


def tabulated_limb_darkening(wavelength_um: Float, teff_k: float) -> tuple[Float, Float]:
    """(u1, u2) of I(mu) / I(1) = 1 - u1 (1 - mu) - u2 (1 - mu)^2, of the shape of `wavelength_um`.

    Linear in temperature and in the logarithm of wavelength between the table's nodes (3500-7500 K, 0.5-8 µm), held
    constant beyond.

    >>> u1, u2 = tabulated_limb_darkening(np.array([0.7, 1.6, 3.0]), 5500.0)
    >>> u1.round(3), u2.round(3)
    (array([0.38 , 0.108, 0.064]), array([0.26 , 0.262, 0.163]))
    """
    at = np.log(wavelength_um)
    nodes = np.log(_WAVELENGTH_UM)
    upper = int(np.clip(np.searchsorted(_TEFF_K, teff_k), 1, _TEFF_K.size - 1))
    weight = float(np.clip((teff_k - _TEFF_K[upper - 1]) / (_TEFF_K[upper] - _TEFF_K[upper - 1]), 0.0, 1.0))
    u1, u2 = (np.interp(at, nodes, (1 - weight) * table[upper - 1] + weight * table[upper]) for table in (_U1, _U2))
    return np.asarray(u1), np.asarray(u2)
