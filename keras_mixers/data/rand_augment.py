"""RandAugment: each image is changed by operations of its own random draw.

Two flavours, tables at the end of the file: that of RandAugment's authors, with which MLP-Mixer
was trained (`MIXER_RECIPE`), and the "increasing" one of the recipes that follow DeiT
(`DEIT_RECIPE`), where every operation changes the more the larger the magnitude is.

RandAugment, https://arxiv.org/abs/1909.13719; MLP-Mixer, https://arxiv.org/abs/2105.01601; DeiT,
https://arxiv.org/abs/2012.12877.
"""

import functools
import math
from typing import NamedTuple

import tensorflow as tf

from keras_mixers.data import image_operations as ops


def rand_augment(
    image,
    seed,
    layers=2,
    magnitude=9.0,
    magnitude_std=0.0,
    probability=1.0,
    increasing=False,
):
    """Changes an image by operations drawn at random, one after the other.

    Args:
        image: uint8 tensor of static shape `(height, width, 3)`.
        seed: Integer tensor of shape `(2,)`; the same seed gives the same operations and amounts.
        layers: Number of draws. Each chooses among all operations alike.
        magnitude: Strength, from 0; the tables at the end of the file say what 10 means.
        magnitude_std: Standard deviation of the normal distribution around `magnitude` from which
            each draw takes its own strength.
        probability: Probability that a draw is carried out.
        increasing: Which table, `INCREASING_OPERATIONS` or `OPERATIONS`. The increasing one ends
            at magnitude 10: what is above is taken for 10.

    Returns:
        A uint8 tensor of the same static shape.
    """
    operations = list((INCREASING_OPERATIONS if increasing else OPERATIONS).values())
    uniform_seed, normal_seed = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2))
    uniform = tf.random.stateless_uniform((layers, 5), uniform_seed)
    strength = tf.fill((layers,), float(magnitude))
    if magnitude_std:
        strength += magnitude_std * tf.random.stateless_normal((layers,), normal_seed)
    strength = tf.clip_by_value(strength, 0.0, 10.0 if increasing else math.inf)
    for layer in range(layers):
        choice, apply, sign, row, column = tf.unstack(uniform[layer])
        draw = Draw(strength[layer] / 10, tf.where(sign < 0.5, -1.0, 1.0), (row, column))
        # One past the last operation is to leave the image as it is.
        index = tf.cast(choice * len(operations), tf.int32)
        index = tf.where(apply < probability, index, len(operations))
        image = choose(index, [*operations, _unchanged], image, draw)
    return image


def choose(index, functions, image, *arguments):
    """Returns what the function of that index makes of an image; no other is run.

    `tf.switch_case` runs no other either, but visits each node of each, which takes longer than
    most operations do: TensorFlow resolves it into the nodes of its branches. This it leaves.

    Args:
        index: int32 scalar.
        functions: Functions of `(image, *arguments)` that return an image of the same shape.
        image: uint8 tensor.
        *arguments: Tensors, or nested tuples of them.
    """
    branches = [_function(each).get_concrete_function(image, *arguments) for each in functions]
    (changed,) = tf.raw_ops.StatelessCase(
        branch_index=index,
        input=tf.nest.flatten((image, arguments)),
        Tout=[image.dtype],
        branches=branches,
    )
    return tf.ensure_shape(changed, image.shape)


@functools.cache
def _function(function):
    return tf.function(function, autograph=False)


def _unchanged(image, draw):
    return tf.identity(image)


class Draw(NamedTuple):
    """What an operation of the tables is told.

    Attributes:
        level: Magnitude divided by 10, a scalar from 0.
        sign: -1 or 1, a scalar.
        place: Two scalars in [0, 1): the share of the height and of the width.
    """

    level: tf.Tensor
    sign: tf.Tensor
    place: tuple


# The tables: what each operation does at the magnitude 10 * d.level. Distances are shares of the
# sides: RandAugment's 100 and 40 pixels are those of images of 224.

_COMMON = {
    "auto_contrast": lambda image, d: ops.auto_contrast(image),
    "equalize": lambda image, d: ops.equalize(image),
    "invert": lambda image, d: ops.invert(image),
    "rotate": lambda image, d: ops.rotate(image, 30 * d.level * d.sign),
    "shear_x": lambda image, d: ops.shear_x(image, 0.3 * d.level * d.sign),
    "shear_y": lambda image, d: ops.shear_y(image, 0.3 * d.level * d.sign),
    "solarize_add": lambda image, d: ops.solarize_add(image, tf.floor(110 * d.level)),
}
# Posterize and solarize change less, the larger the magnitude, and nothing from 20 and 10 on; the
# four enhancements change nothing at 5. The code of EfficientNet's authors, where these numbers
# are from, has it so: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet.
OPERATIONS = {
    **_COMMON,
    "posterize": lambda image, d: ops.posterize(image, tf.minimum(tf.floor(4 * d.level), 8)),
    "solarize": lambda image, d: ops.solarize(image, tf.floor(256 * d.level)),
    "color": lambda image, d: ops.color(image, 0.1 + 1.8 * d.level),
    "contrast": lambda image, d: ops.contrast(image, 0.1 + 1.8 * d.level),
    "brightness": lambda image, d: ops.brightness(image, 0.1 + 1.8 * d.level),
    "sharpness": lambda image, d: ops.sharpness(image, 0.1 + 1.8 * d.level),
    "translate_x": lambda image, d: ops.translate_x(image, 100 / 224 * d.level * d.sign),
    "translate_y": lambda image, d: ops.translate_y(image, 100 / 224 * d.level * d.sign),
    "cutout": lambda image, d: ops.cutout(image, 40 / 224 * d.level, d.place),
}
# From timm, https://github.com/huggingface/pytorch-image-models, where its name is "inc1".
INCREASING_OPERATIONS = {
    **_COMMON,
    "posterize": lambda image, d: ops.posterize(image, 4 - tf.floor(4 * d.level)),
    "solarize": lambda image, d: ops.solarize(image, 256 - tf.floor(256 * d.level)),
    "color": lambda image, d: ops.color(image, 1 + 0.9 * d.level * d.sign),
    "contrast": lambda image, d: ops.contrast(image, 1 + 0.9 * d.level * d.sign),
    "brightness": lambda image, d: ops.brightness(image, 1 + 0.9 * d.level * d.sign),
    "sharpness": lambda image, d: ops.sharpness(image, 1 + 0.9 * d.level * d.sign),
    "translate_x": lambda image, d: ops.translate_x(image, 0.45 * d.level * d.sign),
    "translate_y": lambda image, d: ops.translate_y(image, 0.45 * d.level * d.sign),
}

# Settings of `rand_augment`. MLP-Mixer, table 4: magnitude 15, two layers, on ImageNet.
MIXER_RECIPE = dict(layers=2, magnitude=15.0, magnitude_std=0.0, probability=1.0, increasing=False)
# DeiT, table 9: "9/0.5"; timm's "rand-m9-mstd0.5-inc1", where each layer has probability 0.5.
DEIT_RECIPE = dict(layers=2, magnitude=9.0, magnitude_std=0.5, probability=0.5, increasing=True)
