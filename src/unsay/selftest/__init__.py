"""The audit, the metrics and the statistics tested on what is known: models made for it, and simulated data."""
