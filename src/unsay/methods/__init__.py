"""One file, one paper. The folder is the registry: `sim_npo.py` is `sim-npo`."""
