"""Random changes of images that are a function of a seed: no hidden state.

Two functions that are given the same seed draw from the same numbers: give each a seed of its own,
from `tf.random.split`.
"""

import itertools
import math

import tensorflow as tf

from keras_mixers.data import image_operations, rand_augment

# Of normalized images, what one standard deviation is in the values 0 to 255, and what the mean:
# ImageNet's, https://docs.pytorch.org/vision/stable/models.html.
IMAGENET_STD = (58.395, 57.12, 57.375)
IMAGENET_MEAN = (123.675, 116.28, 103.53)


def random_affine(images, seed, rotation, zoom, shift):
    """Rotates, zooms and shifts each image of a batch by amounts of its own.

    Args:
        images: float32 tensor of shape `(batch, height, width, channels)`.
        seed: Pair of integers; the same pair gives the same amounts.
        rotation: Largest angle, either way, in degrees.
        zoom: Largest change of size, either way, as a share: 0.1 is from 0.9 to 1.1.
        shift: Largest shift, either way, as a share of the side.

    Returns:
        A tensor of the same shape: bilinear interpolation, zeros where nothing was.
    """
    batch, height, width, _ = images.shape
    draws = tf.random.stateless_uniform((5, batch), seed, -1.0, 1.0)
    angle = draws[0] * math.radians(rotation)
    scale_x, scale_y = 1 / (1 + zoom * draws[1]), 1 / (1 + zoom * draws[2])
    a, b = scale_x * tf.cos(angle), -scale_x * tf.sin(angle)
    c, d = scale_y * tf.sin(angle), scale_y * tf.cos(angle)
    # Output (x, y) takes its value from input (a x + b y + e, c x + d y + f); e and f keep the
    # center of the image where it is, but for the shift.
    x, y = (width - 1) / 2, (height - 1) / 2
    e = x - a * x - b * y + shift * width * draws[3]
    f = y - c * x - d * y + shift * height * draws[4]
    zero = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, e, c, d, f, zero, zero], axis=1),
        output_shape=(height, width),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def flip(image, seed):
    """Mirrors an image, left to right, with probability 1/2.

    Args:
        image: Tensor of shape `(height, width, channels)`.
        seed: Integer tensor of shape `(2,)`.
    """
    return tf.image.stateless_random_flip_left_right(image, seed)


def color_jitter(image, seed, strength):
    """Changes brightness, contrast and saturation, in an order drawn for the image.

    The hue stays. DeiT, https://arxiv.org/abs/2012.12877, and the recipes after it use strength
    0.4 where there is no RandAugment.

    Args:
        image: uint8 tensor of static shape `(height, width, 3)`.
        seed: Integer tensor of shape `(2,)`.
        strength: Each factor is uniform in `[1 - strength, 1 + strength]`, and not below 0.

    Returns:
        A uint8 tensor of the same shape.
    """
    factor_seed, order_seed = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2))
    factors = tf.random.stateless_uniform((3,), factor_seed, max(0.0, 1 - strength), 1 + strength)
    drawn = tf.random.stateless_uniform((), order_seed, 0, len(_ORDERS), tf.int32)
    return rand_augment.choose(drawn, _ORDERS, image, factors)


def _jitter_in(order):
    changes = (image_operations.brightness, image_operations.contrast, image_operations.color)

    def jitter(image, factors):
        for position in order:
            image = changes[position](image, factors[position])
        return image

    return jitter


_ORDERS = [_jitter_in(order) for order in itertools.permutations(range(3))]


def random_erasing(image, seed, probability):
    """Puts noise over a rectangle of the image.

    The rectangle has from 2 % to 1/3 of the image's area, uniformly, and an aspect ratio from
    0.3 to 1/0.3, uniformly in its logarithm: Random Erasing, https://arxiv.org/abs/1708.04896.
    Each value of the noise is drawn on its own, as in the "pixel" mode of timm,
    https://github.com/huggingface/pytorch-image-models: what is standard normal noise once the
    image is normalized with ImageNet's mean and standard deviation is normal noise of these,
    cut to 0 to 255, here.

    Args:
        image: uint8 tensor of static shape `(height, width, 3)`.
        seed: Integer tensor of shape `(2,)`.
        probability: Probability that there is such a rectangle.

    Returns:
        A uint8 tensor of the same shape.
    """
    draw_seed, noise_seed = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2))
    # The first of ten rectangles that fits, as in timm; nearly every one does.
    erase, *draws = tf.split(tf.random.stateless_uniform((41,), draw_seed), [1, 10, 10, 10, 10])
    top, left, bottom, right, fits = _rectangles(image.shape, *draws)
    first = tf.argmax(fits)

    def erased():
        edges = (top[first], left[first], bottom[first], right[first])
        return _with_noise(image, noise_seed, *edges)

    wanted = (erase[0] < probability) & tf.reduce_any(fits)
    return tf.ensure_shape(tf.cond(wanted, erased, lambda: tf.identity(image)), image.shape)


def _rectangles(shape, area, aspect, row, column):
    """Returns the edges of rectangles from uniform draws, and which of them fit in."""
    height, width, _ = shape
    area = (0.02 + area * (1 / 3 - 0.02)) * height * width
    aspect = tf.exp((2 * aspect - 1) * math.log(1 / 0.3))
    tall = tf.cast(tf.round(tf.sqrt(area * aspect)), tf.int32)
    wide = tf.cast(tf.round(tf.sqrt(area / aspect)), tf.int32)
    top = tf.cast(row * tf.cast(height - tall + 1, tf.float32), tf.int32)
    left = tf.cast(column * tf.cast(width - wide + 1, tf.float32), tf.int32)
    return top, left, top + tall, left + wide, (tall < height) & (wide < width)


def _with_noise(image, seed, top, left, bottom, right):
    height, width, _ = image.shape
    # Noise is dear, 2.6 ms for an image of 224 pixels: no more of it is drawn than is seen.
    noise = tf.random.stateless_normal((bottom - top, right - left, 3), seed)
    noise = tf.clip_by_value(noise * IMAGENET_STD + IMAGENET_MEAN, 0.0, 255.0)
    noise = tf.reshape(tf.cast(noise, tf.uint8), (bottom - top, 3 * (right - left)))
    # Rows of values, because padding and broadcasting rows of pixels takes several times as long.
    rows = tf.reshape(image, (height, 3 * width))
    margins = ((top, height - bottom), (3 * left, 3 * (width - right)))
    keep = tf.pad(tf.zeros_like(noise), margins, constant_values=1)
    return tf.reshape(rows * keep + tf.pad(noise, margins), image.shape)
