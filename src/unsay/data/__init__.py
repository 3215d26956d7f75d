"""Rows in, token ids out."""
