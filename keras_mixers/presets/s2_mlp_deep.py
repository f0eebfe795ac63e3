"""S2-MLP-deep on ImageNet-1k from scratch.

Expected: 80.7 % top-1 after 300 epochs (as cited by https://github.com/Zhicaiwww/PosMLP).
Not reproduced here. Hardware of that: not known.
Source: https://arxiv.org/abs/2106.07477, which has no official code.

UNVERIFIED: learning rate, its end, decay, batch size, smoothing, drop path, warm-up and all of the
augmentation are the usual ones of DeiT (https://arxiv.org/abs/2012.12877), which the paper is said
to follow; nobody has checked them against its text.

  keras-mixers imagenet --recipe s2_mlp_deep
"""

import dataclasses

from keras_mixers.presets import smlpnet_t

CONFIG = dataclasses.replace(
    smlpnet_t.CONFIG,
    model="S2MLPDeep",
    drop_path_rate=0.1,
    ema_decay=None,
)
