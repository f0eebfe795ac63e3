"""The one trainer: configuration, data, augmentation, optimization, the loop, and its images.

To be imported before TensorFlow, which reads these settings then; what is set already, stays.
"""

import os

# TensorFlow's faster kernels for CPUs, which it chooses by itself on some only. To see what they
# give: TF_ENABLE_ONEDNN_OPTS=0 python benchmarks/train_step.py
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Megabytes that are read from a bucket at once: 64 otherwise, and an image needs less.
os.environ.setdefault("GCS_READ_CACHE_BLOCK_SIZE_MB", "1")
