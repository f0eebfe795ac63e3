"""A small S2-MLP on large digits over photographs, which benchmarks/jpeg_digits.py writes.

Expected: more than 90 % top-1 in less than 15 minutes on two CPU cores; what it printed is in
recipes/README.md. Source: ours; a small task to see everything at work.

  python benchmarks/jpeg_digits.py runs/jpeg_digits
  keras-mixers imagenet --recipe digits_s2_mlp --data runs/jpeg_digits/folder
"""

import dataclasses

from keras_mixers.presets import digits_mixer

CONFIG = dataclasses.replace(
    digits_mixer.CONFIG,
    model="S2MLP",
    model_options=(
        "patch_size=8",
        "hidden_dim=96",
        "num_blocks=6",
        "channels_mlp_dim=192",
    ),
)
