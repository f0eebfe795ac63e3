"""RandAugment: every picture is changed by operations drawn for it alone.

Two flavours, tables at the end of the file: that of RandAugment's authors, with which MLP-Mixer
was trained (`MIXER_RECIPE`), and the "increasing" one of the recipes that follow DeiT
(`DEIT_RECIPE`), where every operation changes the more the larger the magnitude is.

RandAugment, https://arxiv.org/abs/1909.13719; MLP-Mixer, https://arxiv.org/abs/2105.01601; DeiT,
https://arxiv.org/abs/2012.12877. What each operation does is defined by Pillow's `ImageOps` and
`ImageEnhance`, https://pillow.readthedocs.io/en/stable/reference/: where a Keras layer does the
same at a price near that of plain arithmetic, the layer is used. Times in comments are of one
picture of 224 pixels on one core of a common server.
"""

import functools
import math
from typing import NamedTuple

import keras
import tensorflow as tf

GRAY = 128  # What lies outside the picture, and inside a cutout.
LUMA = (0.299, 0.587, 0.114)  # Red, green and blue in gray, as in ITU-R BT.601 and Pillow.


def rand_augment(
    image,
    seed,
    layers=2,
    magnitude=9.0,
    magnitude_std=0.0,
    probability=1.0,
    increasing=False,
):
    """Changes a picture by operations drawn at random, one after the other.

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
        # One past the last operation is to leave the picture alone.
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


# The operations. Each takes a uint8 picture of shape `(height, width, 3)` and returns one. Except
# in the geometric ones, fractions are cut off, as in Pillow.


def auto_contrast(image):
    """Stretches each channel so that its darkest pixel is 0 and its brightest 255.

    `keras.layers.AutoContrast` gives the same, in 2.8 ms instead of 0.2.
    """
    width = image.shape[1]
    rows = _rows(image)
    low, high = (
        extreme(tf.reshape(extreme(rows, axis=0), (width, 3)), axis=0)
        for extreme in (tf.reduce_min, tf.reduce_max)
    )
    varied = high > low
    scale = tf.where(varied, 255.0 / (high - low), 1.0)
    low = tf.where(varied, low, 0.0)
    # What is a whole number on paper must not be cut to the one below: 1e-3 is more than the
    # rounding error, and less than any fraction that is not a rounding error (1 / 255).
    return _picture((rows - tf.tile(low, [width])) * tf.tile(scale, [width]) + 1e-3, image)


def equalize(image):
    """Spreads the values of each channel so that all are about equally frequent.

    `keras.layers.Equalization` rounds in another way than Pillow, and its graph has a loop of 256
    turns written out when Keras' backend is JAX.
    """
    channel = tf.constant([0, 256, 512])
    index = tf.cast(image, tf.int32) + channel
    flat = tf.reshape(index, [-1])
    histogram = tf.reshape(tf.math.unsorted_segment_sum(tf.ones_like(flat), flat, 768), (3, 256))
    brightest = tf.reduce_max(tf.where(histogram > 0, tf.range(256), 0), axis=1)
    total = image.shape[0] * image.shape[1]
    step = (total - tf.gather(histogram, brightest, batch_dims=1))[:, None] // 255
    darker = tf.cumsum(histogram, axis=1, exclusive=True)
    table = tf.minimum((darker + step // 2) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, table, tf.range(256))
    return tf.gather(tf.cast(tf.reshape(table, [-1]), tf.uint8), index)


def invert(image):
    """Returns the negative."""
    return 255 - image


def posterize(image, bits):
    """Keeps the `bits` highest bits of each value, 0 to 8.

    `keras.layers.RandomPosterization` keeps one bit where none should be kept: TensorFlow shifts
    8-bit values by at most 7.
    """
    return tf.bitwise.bitwise_and(image, tf.cast(256 - 2 ** (8 - tf.cast(bits, tf.int32)), "uint8"))


def solarize(image, threshold):
    """Inverts the values that are not below `threshold`; from 256 on, it changes nothing.

    `keras.layers.Solarization` gives the same, in 1.4 ms instead of 0.2.
    """
    rows = _rows(image)
    inverted = tf.cast(rows >= threshold, tf.float32)
    return _picture(rows + inverted * (255 - 2 * rows), image)


def solarize_add(image, addition):
    """Adds `addition` to the values below 128.

    `keras.layers.Solarization` adds to all values, and inverts the brighter ones.
    """
    rows = _rows(image)
    return _picture(rows + addition * tf.cast(rows < 128, tf.float32), image)


def color(image, factor):
    """Blends with the picture in gray: 0 is gray, 1 changes nothing, more is more colourful."""
    return _by_keras("color", image, factor=1 - factor)


def contrast(image, factor):
    """Blends with the mean gray of the picture: 0 is even gray, 1 changes nothing.

    `keras.layers.RandomContrast` uses a mean of each channel, which changes the colours too.
    """
    rows = _rows(image)
    mean = tf.tensordot(tf.reduce_mean(rows, axis=0), tf.tile(LUMA, [image.shape[1]]), 1)
    mean = tf.floor(mean / image.shape[1] + 0.5)
    return _picture(rows * factor + (1 - factor) * mean, image)


def brightness(image, factor):
    """Blends with black: 0 is black, 1 changes nothing.

    `keras.layers.RandomBrightness` adds to all values instead.
    """
    return _picture(_rows(image) * factor, image)


def sharpness(image, factor):
    """Blends with the smoothed picture: 0 is smooth, 1 changes nothing, more is sharper.

    `keras.layers.RandomSharpness` darkens the outermost pixels, which Pillow leaves as they are,
    and its convolution takes 5 ms; the sums below take 0.4.
    """
    pixels = tf.cast(image, tf.float32)
    inner = pixels[1:-1, 1:-1]
    sums = pixels[:-2] + pixels[1:-1] + pixels[2:]
    sums = sums[:, :-2] + sums[:, 1:-1] + sums[:, 2:]
    # The smoothing kernel is 5/13 in the middle and 1/13 around it.
    change = (sums - 9 * inner) * ((1 - factor) / 13)
    return _picture(pixels + tf.pad(change, ((1, 1), (1, 1), (0, 0))), image)


def rotate(image, degrees):
    """Rotates counterclockwise around the centre."""
    angle = degrees * (math.pi / 180)
    sine, cosine = tf.sin(angle), tf.cos(angle)
    x, y = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    # Output (x, y) takes its value from input (a x + b y + c, d x + e y + f).
    matrix = [
        *(cosine, -sine, x - cosine * x + sine * y),
        *(sine, cosine, y - sine * x - cosine * y),
        *(0.0, 0.0),
    ]
    return _by_keras("rotate", image, rotation_matrix=tf.stack(matrix)[None])


def shear_x(image, slope):
    """Takes the value of (x, y) from (x + slope * y, y): the top row stays where it is."""
    return _by_keras("shear", image, shear_factor=tf.stack([slope, 0.0])[None])


def shear_y(image, slope):
    """Takes the value of (x, y) from (x, y + slope * x): the left column stays where it is."""
    return _by_keras("shear", image, shear_factor=tf.stack([0.0, slope])[None])


def translate_x(image, share):
    """Moves the picture to the left by a share of its width, in whole pixels.

    `keras.layers.RandomTranslation` can move by fractions of a pixel; it takes ten times as long.
    """
    height, width, channels = image.shape
    shift = tf.cast(tf.round(share * width), tf.int32)
    source = tf.range(width) + shift
    inside = tf.cast((source >= 0) & (source < width), tf.uint8)
    inside = tf.reshape(tf.tile(inside[:, None], (1, channels)), (1, width * channels))
    rows = tf.reshape(image, (height, width * channels))
    moved = (tf.roll(rows, -channels * shift, axis=1) - GRAY) * inside + GRAY
    return tf.reshape(moved, image.shape)


def translate_y(image, share):
    """Moves the picture up by a share of its height, in whole pixels."""
    height = image.shape[0]
    shift = tf.cast(tf.round(share * height), tf.int32)
    source = tf.range(height) + shift
    inside = tf.cast((source >= 0) & (source < height), tf.uint8)[:, None]
    rows = tf.reshape(image, (height, -1))
    return tf.reshape((tf.roll(rows, -shift, axis=0) - GRAY) * inside + GRAY, image.shape)


def cutout(image, share, place):
    """Turns a square gray.

    Args:
        image: uint8 tensor of shape `(height, width, 3)`.
        share: Half the square's side, as a share of the picture's.
        place: The square's centre, as shares of height and width; the square may stand out.
    """
    height, width, channels = image.shape
    inside = []
    for side, centre in zip((height, width), place, strict=True):
        half = tf.cast(share * side, tf.int32)
        distance = tf.range(side) - tf.cast(centre * side, tf.int32)
        inside.append(tf.cast((distance >= -half) & (distance < half), tf.uint8))
    columns = tf.reshape(tf.tile(inside[1][:, None], (1, channels)), (1, width * channels))
    rows = tf.reshape(image, (height, width * channels))
    return tf.reshape(rows + inside[0][:, None] * columns * (GRAY - rows), image.shape)


def _rows(image):
    """Returns float32 `(height, width * 3)`: what is broadcast along 3 channels is slow."""
    return tf.cast(tf.reshape(image, (image.shape[0], -1)), tf.float32)


def _picture(values, image):
    """Returns float values as uint8, in the shape of `image`."""
    return tf.reshape(tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8), image.shape)


@functools.cache
def _keras_layers():
    """Keras' layers, built at their first use: each of them creates a variable, its own seed.

    They are only asked to carry out what was drawn here; their seeds are never used.
    """
    settings = dict(seed=0, dtype="float32", data_format="channels_last")
    outside = dict(fill_mode="constant", fill_value=float(GRAY), interpolation="bilinear")
    layers = {
        "color": keras.layers.RandomColorDegeneration(1.0, **settings),
        "rotate": keras.layers.RandomRotation(1.0, **outside, **settings),
        "shear": keras.layers.RandomShear(1.0, 1.0, **outside, **settings),
    }
    for layer in layers.values():
        # The layers would do this themselves inside tf.data, but only when called, and a call
        # draws. tf.data needs TensorFlow whatever Keras' backend is.
        layer.backend.set_backend("tensorflow")
    return layers


def _by_keras(name, image, **transformation):
    pixels = tf.cast(image, tf.float32)[None]
    changed = _keras_layers()[name].transform_images(pixels, transformation)[0]
    # Interpolated values are rounded; Pillow cuts off the fractions of all others.
    return tf.cast(changed if name == "color" else changed + 0.5, tf.uint8)


# The tables: what each operation does at the magnitude 10 * d.level. Distances are shares of the
# sides: RandAugment's 100 and 40 pixels are those of pictures of 224.

_COMMON = {
    "auto_contrast": lambda image, d: auto_contrast(image),
    "equalize": lambda image, d: equalize(image),
    "invert": lambda image, d: invert(image),
    "rotate": lambda image, d: rotate(image, 30 * d.level * d.sign),
    "shear_x": lambda image, d: shear_x(image, 0.3 * d.level * d.sign),
    "shear_y": lambda image, d: shear_y(image, 0.3 * d.level * d.sign),
    "solarize_add": lambda image, d: solarize_add(image, tf.floor(110 * d.level)),
}
# Posterize and solarize change less, the larger the magnitude, and nothing from 20 and 10 on; the
# four enhancements change nothing at 5. The code of EfficientNet's authors, where these numbers
# are from, has it so: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet.
OPERATIONS = {
    **_COMMON,
    "posterize": lambda image, d: posterize(image, tf.minimum(tf.floor(4 * d.level), 8)),
    "solarize": lambda image, d: solarize(image, tf.floor(256 * d.level)),
    "color": lambda image, d: color(image, 0.1 + 1.8 * d.level),
    "contrast": lambda image, d: contrast(image, 0.1 + 1.8 * d.level),
    "brightness": lambda image, d: brightness(image, 0.1 + 1.8 * d.level),
    "sharpness": lambda image, d: sharpness(image, 0.1 + 1.8 * d.level),
    "translate_x": lambda image, d: translate_x(image, 100 / 224 * d.level * d.sign),
    "translate_y": lambda image, d: translate_y(image, 100 / 224 * d.level * d.sign),
    "cutout": lambda image, d: cutout(image, 40 / 224 * d.level, d.place),
}
# From timm, https://github.com/huggingface/pytorch-image-models, where its name is "inc1".
INCREASING_OPERATIONS = {
    **_COMMON,
    "posterize": lambda image, d: posterize(image, 4 - tf.floor(4 * d.level)),
    "solarize": lambda image, d: solarize(image, 256 - tf.floor(256 * d.level)),
    "color": lambda image, d: color(image, 1 + 0.9 * d.level * d.sign),
    "contrast": lambda image, d: contrast(image, 1 + 0.9 * d.level * d.sign),
    "brightness": lambda image, d: brightness(image, 1 + 0.9 * d.level * d.sign),
    "sharpness": lambda image, d: sharpness(image, 1 + 0.9 * d.level * d.sign),
    "translate_x": lambda image, d: translate_x(image, 0.45 * d.level * d.sign),
    "translate_y": lambda image, d: translate_y(image, 0.45 * d.level * d.sign),
}

# Settings of `rand_augment`. MLP-Mixer, table 4: magnitude 15, two layers, on ImageNet.
MIXER_RECIPE = dict(layers=2, magnitude=15.0, magnitude_std=0.0, probability=1.0, increasing=False)
# DeiT, table 9: "9/0.5"; timm's "rand-m9-mstd0.5-inc1", where each layer has probability 0.5.
DEIT_RECIPE = dict(layers=2, magnitude=9.0, magnitude_std=0.5, probability=0.5, increasing=True)
