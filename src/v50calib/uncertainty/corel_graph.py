"""The graph of channels: each one is connected to its nearest neighbours in wavelength and to itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from v50calib.errors import ConfigError
from v50calib.kernels.arrays import Float

#: approximate wavelengths of wl_1..wl_283, µm: used only to order the channels and to scale distances
FGS1_UM, AIRS_UM = 0.7, (1.95, 3.90)


def channel_wavelength(n_bins: int) -> Float:
    """Wavelength of each channel, (bin,), µm: FGS1, then AIRS-CH0 evenly spaced.

    >>> channel_wavelength(3)
    array([0.7 , 1.95, 3.9 ])
    """
    return np.concatenate([[FGS1_UM], np.linspace(*AIRS_UM, n_bins - 1)]) if n_bins > 1 else np.array([FGS1_UM])


def neighbours(wavelength: Float, k: int) -> NDArray[np.int64]:
    """Index (bin, k + 1): each channel itself first, then its k nearest in wavelength, ties to the lower index; k = 0: itself alone.

    Raises ConfigError where there are not enough channels.

    >>> neighbours(np.array([0.7, 1.9, 2.0, 2.2]), k=2)
    array([[0, 1, 2],
           [1, 2, 3],
           [2, 1, 3],
           [3, 2, 1]])
    """
    if k >= wavelength.size:
        raise ConfigError(f"corel.graph.k_proximity={k} asks for more neighbours than the other {wavelength.size - 1} channels")
    distance = np.abs(wavelength[:, None] - wavelength[None, :])
    np.fill_diagonal(distance, -1.0)
    return np.argsort(distance, axis=1, kind="stable")[:, : k + 1]


def edge_attributes(wavelength: Float, index: NDArray[np.int64]) -> Float:
    """Signed and absolute distance of each neighbour in units of the mean AIRS channel spacing, over 10; (bin, k + 1, 2).

    >>> edge_attributes(np.array([1.0, 2.0, 3.0]), np.array([[0, 1], [1, 0], [2, 1]]))[1]  # itself, and one channel below it
    array([[ 0. ,  0. ],
           [-0.1,  0.1]])
    """
    spacing = float(np.median(np.abs(np.diff(wavelength)))) if wavelength.size > 1 else 1.0
    signed = np.clip((wavelength[index] - wavelength[:, None]) / spacing / 10.0, -3.0, 3.0)
    return np.stack([signed, np.abs(signed)], axis=2)
