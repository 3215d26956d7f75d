"""Run folders: what happened, with hashes and timings."""
