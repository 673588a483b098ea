"""From depths to the best spectrum that they allow: a planet's depths and covariance in, mean and covariance out.

`GaussianProcess` needs no population, `Population` is fitted to a user's own file of true spectra, `crossfit` leaves planets
of that file out where they are estimated.
"""

from v50calib.estimators.crossfit import crossfit
from v50calib.estimators.fitting import Options
from v50calib.estimators.gp import GaussianProcess, Priors
from v50calib.estimators.measured import Measured, Posterior
from v50calib.estimators.population import Population

__all__ = ["GaussianProcess", "Measured", "Options", "Population", "Posterior", "Priors", "crossfit"]
