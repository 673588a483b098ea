"""Transit light curves by batman, directly on the read pairs: no grid, no interpolation in time."""

from __future__ import annotations

import batman  # type: ignore[import-untyped,unused-ignore]
import numpy as np

from v50calib.kernels.arrays import Float
from v50calib.schema import INSTRUMENT
from v50calib.simulate.axes import airs_wavelength, channel_wavelength
from v50calib.simulate.planet import Planet


def light_curves(time_h: Float, t0_h: float, star: dict[str, float], depth: Float, u1: Float, u2: Float) -> Float:
    """Relative flux [time, channel] of a circular orbit with quadratic limb darkening.

    time_h, t0_h   hours since the start of the visit
    depth, u1, u2  [channel]; a channel of depth 0 is flat

    The flux is that of the instant (Mandel & Agol 2002, as batman computes it): smearing over the up to 4.6 s of a
    ramp is left out, because it changes the flux by < 1e-6 even in ingress of a 1 % transit.

    >>> star, none = {"P": 4.0, "sma": 12.0, "i": 90.0, "e": 0.0}, np.zeros(2)
    >>> light_curves(np.array([0.0, 3.75]), 3.75, star, np.array([0.01, 0.0]), none, none).round(9)  # no limb darkening: 1 - depth
    array([[1.  , 1.  ],
           [0.99, 1.  ]])
    """
    params = batman.TransitParams()
    params.t0, params.per, params.ecc, params.w = t0_h / 24, star["P"], star["e"], 90.0
    params.a, params.inc, params.limb_dark = star["sma"], star["i"], "quadratic"
    params.rp, params.u = 0.1, [0.0, 0.0]
    model = batman.TransitModel(params, np.ascontiguousarray(time_h / 24))
    out = np.ones((time_h.size, depth.size))
    for channel in range(depth.size):
        if depth[channel] > 0:
            params.rp, params.u = float(np.sqrt(depth[channel])), [float(u1[channel]), float(u2[channel])]
            out[:, channel] = model.light_curve(params)
    return out


def instrument_curves(planet: Planet, instrument: str, time_h: Float, t0_h: float) -> Float:
    """Relative flux [time, column] for AIRS-CH0's 356 columns, [time, 1] for FGS1.

    Columns outside the 282 science columns take the depth and limb darkening of the nearest channel.

    >>> from v50calib.simulate.planet import draw_planet
    >>> from v50calib.simulate.config import SimConfig
    >>> planet = draw_planet(SimConfig(seed=1, depth=0.01, limb_darkening=False), 0)
    >>> instrument_curves(planet, "FGS1", np.array([0.0, 3.75]), 3.75).ravel().round(6)
    array([1.  , 0.99])
    """
    if not INSTRUMENT[instrument].spectral:
        return light_curves(time_h, t0_h, planet.star, planet.depth[:1], planet.u1[:1], planet.u2[:1])
    column, channel = airs_wavelength(), channel_wavelength()[1:]
    depth, u1, u2 = (np.interp(column, channel, v[1:]) for v in (planet.depth, planet.u1, planet.u2))
    return light_curves(time_h, t0_h, planet.star, depth, u1, u2)
