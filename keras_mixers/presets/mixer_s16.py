"""MLP-Mixer-S/16 on ImageNet-1k from scratch, by the recipe of B/16.

Expected: no public figure for this training; the paper has S/16 after JFT-300M only (73.83 %,
Table 3). Not reproduced here. Hardware: a TPU, or GPUs with
--gradient-accumulation-steps where memory is short.
Source of the settings: https://arxiv.org/abs/2105.01601 v4, Table 4 (rows B and L).

  keras-mixers imagenet --recipe mixer_s16
"""

import dataclasses

from keras_mixers.presets import mixer_b16

CONFIG = dataclasses.replace(mixer_b16.CONFIG, model="MLPMixerS16", tpu_scoped_vmem=None)
