"""When a training ends before its last step, or leaves rows out. One file, one rule."""
