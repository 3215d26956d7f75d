"""Models: where they come from, how they are saved, adapters, weights."""
