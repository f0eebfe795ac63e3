"""A small sMLPNet on large digits over photographs, which benchmarks/jpeg_digits.py writes.

Expected: more than 90 % top-1 in less than 15 minutes on two CPU cores; what it printed is in
recipes/README.md. Source: ours; a small task to see everything at work.

  python benchmarks/jpeg_digits.py runs/jpeg_digits
  keras-mixers imagenet --recipe digits_smlpnet --data runs/jpeg_digits/folder
"""

import dataclasses

from keras_mixers.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from keras_mixers.presets import digits_mixer

CONFIG = dataclasses.replace(
    digits_mixer.CONFIG,
    model="SMLPNet",
    model_options=(
        "patch_size=4",
        "hidden_dim=24",
        "depths=(1,2,2)",
    ),
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)
