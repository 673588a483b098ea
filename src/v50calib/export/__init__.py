"""Products of a run on one grid, in files of several formats."""
