"""sMLPNet-B on ImageNet-1k from scratch: the recipe of sMLPNet-T with more stochastic depth.

Expected: 83.4 % top-1 after 300 epochs (paper, Table 4). Not reproduced here.
Hardware of that: 8 GPUs with 128 images each.
Source: https://arxiv.org/abs/2109.05422; https://github.com/microsoft/SPACH.

  keras-mixers imagenet --recipe smlpnet_b
"""

import dataclasses

from keras_mixers.presets import smlpnet_t

CONFIG = dataclasses.replace(smlpnet_t.CONFIG, model="SMLPNetB", drop_path_rate=0.3)
