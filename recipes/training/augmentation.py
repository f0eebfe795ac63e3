"""Random changes of pictures that are a function of a seed: no hidden state."""

import math

import tensorflow as tf


def random_affine(images, seed, rotation, zoom, shift):
    """Rotates, zooms and shifts each picture of a batch by amounts of its own.

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
    # centre of the picture where it is, but for the shift.
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
