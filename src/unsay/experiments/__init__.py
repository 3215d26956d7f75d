"""Experiments of papers as commands: ``unsay bench NAME``."""
