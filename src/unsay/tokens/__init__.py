"""Which tokens of a forget answer count, and how much. One file, one rule."""
