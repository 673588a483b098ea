"""ExoSim 2's own output: files of NDRs (`.h5`) with the configuration beside them."""
