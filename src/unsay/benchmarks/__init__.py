"""Splits + metrics + headline; one file each. The folder is the registry."""
