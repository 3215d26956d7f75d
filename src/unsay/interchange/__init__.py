"""Results of other software, read into run folders."""
