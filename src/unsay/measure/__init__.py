"""The torch side of evaluation: needs answered once, kept by content."""
