"""The one trainer: configuration, data, augmentation, optimisation, the loop, and its pictures."""

import os

# TensorFlow reads a bucket by blocks, of 64 MB unless told otherwise before it is imported; a
# picture needs less.
os.environ.setdefault("GCS_READ_CACHE_BLOCK_SIZE_MB", "1")
