"""Reports read files, not models."""
