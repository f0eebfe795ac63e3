"""The one trainer: configuration, data, augmentation, optimisation, the loop, and its pictures.

To be imported before TensorFlow, which reads these settings then; what is set already, stays.
"""

import os

# TensorFlow's faster kernels for CPUs, which it chooses by itself on some only. A training step of
# MLP-Mixer-B/16 on two AMD cores takes 0.74 of the time.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Megabytes that are read from a bucket at once: 64 otherwise, and a picture needs less.
os.environ.setdefault("GCS_READ_CACHE_BLOCK_SIZE_MB", "1")
