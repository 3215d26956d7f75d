"""One file, one metric, numpy only. The folder is the registry: `min_k.py` is `min-k`."""
