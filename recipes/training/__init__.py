"""The one trainer: configuration, data, augmentation, optimisation, the loop, and its pictures.

To be imported before TensorFlow, which reads these settings then; what is set already, stays.
"""

import os

_SETTINGS = {
    # Faster kernels for CPUs, which TensorFlow chooses by itself on some only. A training step of
    # MLP-Mixer-B/16 on two AMD cores takes three quarters of the time.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # Memory that is kept for the next step instead of being asked for anew: another tenth.
    "TF_CPU_ALLOCATOR_USE_BFC": "1",
    "TF_CPU_BFC_MEM_LIMIT_IN_MB": str(
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    ),
    # Megabytes that are read from a bucket at once: 64 otherwise, and a picture needs less.
    "GCS_READ_CACHE_BLOCK_SIZE_MB": "1",
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)
