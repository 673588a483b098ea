"""What the series stages pass on: light curves, the ephemeris, time bins and the baseline's terms."""
