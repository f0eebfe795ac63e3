"""sMLPNet-T on ImageNet-1k from scratch.

Expected: 81.9 % top-1 after 300 epochs (paper, Table 4). Not reproduced here.
Hardware of that: 8 GPUs with 128 images each.
Source: https://arxiv.org/abs/2109.05422 and the defaults of main.py in
https://github.com/microsoft/SPACH: AdamW, 5e-4 for each 512 images of a batch, decay 0.05, cosine
after 20 epochs of warm-up from 1e-6 down to 1e-5, RandAugment 9 with noise 0.5, jitter 0.4,
MixUp 0.8 or CutMix 1.0, smoothing 0.1, erasing 0.25, repeated augmentation, average 0.99996.

  keras-mixers imagenet --recipe smlpnet_t

Differences: main.py goes on for 10 epochs at the last learning rate. Its cosine begins at epoch 0,
of which the warm-up covers the first 20 epochs, and changes once an epoch; here it begins after the
warm-up and changes every step. It mixes a whole batch with one coefficient, this recipe each pair
of images with its own. Its RandAugment interpolates bicubically and fills with the mean color;
here, bilinearly, with gray. It leaves color jitter out where RandAugment is on, as timm does; so
does this recipe.
"""

from keras_mixers.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from keras_mixers.training.config import TrainingConfig

CONFIG = TrainingConfig(
    model="SMLPNetT",
    drop_path_rate=0.0,
    crop_min_area=0.08,
    interpolation="bicubic",
    randaugment="increasing",
    randaugment_magnitude=9.0,
    erasing=0.25,
    mixup=0.8,
    mixup_keeps_half=False,
    cutmix=1.0,
    label_smoothing=0.1,
    repeated_augmentation=3,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    batch_size=1024,
    loss="softmax",
    head_bias=0.0,
    learning_rate=1e-3,
    final_learning_rate=1e-5,
    schedule="cosine",
    warmup_epochs=20.0,
    warmup_learning_rate=1e-6,
    weight_decay=0.05,
    clip_norm=None,
    ema_decay=0.99996,
)
