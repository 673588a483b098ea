"""What the series stages pass on: light curves, time bins and the baseline's terms."""
