"""lm → attacked lms, or examples → attacked examples. The folder is the registry."""
