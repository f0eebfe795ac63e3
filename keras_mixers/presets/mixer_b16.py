"""MLP-Mixer-B/16 on ImageNet-1k from scratch.

Expected: 76.44 % top-1 after 300 epochs (paper, Table 3), 76.3 % (big_vision). Not reproduced here.
Hardware of that: TPU v3-128, 2 h 11 min (big_vision's configuration, which also gives 70.5 % after
60 epochs in 27 min). Source: https://arxiv.org/abs/2105.01601 v4, Table 4, and
https://github.com/google-research/big_vision, big_vision/configs/mlp_mixer_i1k.py.

  keras-mixers imagenet --recipe mixer_b16 --tpu

Differences: big_vision mixes a whole batch with one coefficient, this recipe each pair of images
with its own. It writes the decay as 1e-4, because it is not multiplied by the learning rate there.
It resizes by area for evaluation, this recipe by antialiased bilinear interpolation. How its
RandAugment interpolates rotated and sheared images is not written down; here it is bilinear, and
contrast is towards the mean of the gray image, as in Pillow. Its warm-up is 10,000 steps; 32
epochs of train[:99%] are 9,888. Its validation images for choosing settings are train[99%:];
this recipe does not train on these either.
"""

from keras_mixers.training.config import TrainingConfig

# docs/performance.md compares the compiler's settings.
CONFIG = TrainingConfig(train_split="train[:99%]", tpu_scoped_vmem=98304)
