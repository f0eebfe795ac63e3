"""RandAugment's operations. Each takes a uint8 image of `(height, width, 3)` and returns one.

What each does is defined by Pillow's `ImageOps` and `ImageEnhance`,
https://pillow.readthedocs.io/en/stable/reference/; except in the geometric ones, fractions are cut
off, as there. They are TensorFlow's, because they run in tf.data whatever Keras' backend is. Times
are of one image of 224 pixels on one core of a common server.
"""

import math

import tensorflow as tf

GRAY = 128  # What lies outside the image, and inside a cutout.
LUMA = (0.299, 0.587, 0.114)  # Red, green and blue in gray, as in ITU-R BT.601 and Pillow.


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
    return _image((rows - tf.tile(low, [width])) * tf.tile(scale, [width]) + 1e-3, image)


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
    return _image(rows + inverted * (255 - 2 * rows), image)


def solarize_add(image, addition):
    """Adds `addition` to the values below 128.

    `keras.layers.Solarization` adds to all values, and inverts the brighter ones.
    """
    rows = _rows(image)
    return _image(rows + addition * tf.cast(rows < 128, tf.float32), image)


def color(image, factor):
    """Blends with the image in gray: 0 is gray, 1 changes nothing, more is more colorful."""
    pixels = tf.cast(image, tf.float32)
    gray = tf.image.rgb_to_grayscale(pixels)
    return _image(pixels + (1 - factor) * (gray - pixels), image)


def contrast(image, factor):
    """Blends with the mean gray of the image: 0 is even gray, 1 changes nothing.

    `keras.layers.RandomContrast` uses a mean of each channel, which changes the colors too.
    """
    rows = _rows(image)
    mean = tf.tensordot(tf.reduce_mean(rows, axis=0), tf.tile(LUMA, [image.shape[1]]), 1)
    mean = tf.floor(mean / image.shape[1] + 0.5)
    return _image(rows * factor + (1 - factor) * mean, image)


def brightness(image, factor):
    """Blends with black: 0 is black, 1 changes nothing.

    `keras.layers.RandomBrightness` adds to all values instead.
    """
    return _image(_rows(image) * factor, image)


def sharpness(image, factor):
    """Blends with the smoothed image: 0 is smooth, 1 changes nothing, more is sharper.

    `keras.layers.RandomSharpness` darkens the outermost pixels, which Pillow leaves as they are,
    and its convolution takes 5 ms; the sums below take 0.4.
    """
    pixels = tf.cast(image, tf.float32)
    inner = pixels[1:-1, 1:-1]
    sums = pixels[:-2] + pixels[1:-1] + pixels[2:]
    sums = sums[:, :-2] + sums[:, 1:-1] + sums[:, 2:]
    # The smoothing kernel is 5/13 in the middle and 1/13 around it.
    change = (sums - 9 * inner) * ((1 - factor) / 13)
    return _image(pixels + tf.pad(change, ((1, 1), (1, 1), (0, 0))), image)


def rotate(image, degrees):
    """Rotates counterclockwise around the center."""
    angle = degrees * (math.pi / 180)
    sine, cosine = tf.sin(angle), tf.cos(angle)
    x, y = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    matrix = (
        *(cosine, -sine, x - cosine * x + sine * y),
        *(sine, cosine, y - sine * x - cosine * y),
    )
    return _transformed(image, matrix)


def shear_x(image, slope):
    """Takes the value of (x, y) from (x + slope * y, y): the top row stays where it is."""
    return _transformed(image, (1.0, slope, 0.0, 0.0, 1.0, 0.0))


def shear_y(image, slope):
    """Takes the value of (x, y) from (x, y + slope * x): the left column stays where it is."""
    return _transformed(image, (1.0, 0.0, 0.0, slope, 1.0, 0.0))


def translate_x(image, share):
    """Moves the image to the left by a share of its width, in whole pixels.

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
    """Moves the image up by a share of its height, in whole pixels."""
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
        share: Half the square's side, as a share of the image's.
        place: The square's center, as shares of height and width; the square may stand out.
    """
    height, width, channels = image.shape
    inside = []
    for side, center in zip((height, width), place, strict=True):
        half = tf.cast(share * side, tf.int32)
        distance = tf.range(side) - tf.cast(center * side, tf.int32)
        inside.append(tf.cast((distance >= -half) & (distance < half), tf.uint8))
    columns = tf.reshape(tf.tile(inside[1][:, None], (1, channels)), (1, width * channels))
    rows = tf.reshape(image, (height, width * channels))
    return tf.reshape(rows + inside[0][:, None] * columns * (GRAY - rows), image.shape)


def _rows(image):
    """Returns float32 `(height, width * 3)`: what is broadcast along 3 channels is slow."""
    return tf.cast(tf.reshape(image, (image.shape[0], -1)), tf.float32)


def _image(values, image):
    """Returns float values as uint8, in the shape of `image`."""
    return tf.reshape(tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8), image.shape)


def _transformed(image, matrix):
    """Returns the image whose (x, y) is taken from (a x + b y + c, d x + e y + f).

    `keras.layers.RandomRotation` and `RandomShear` call the same operation of TensorFlow.
    """
    a, b, c, d, e, f = (tf.cast(each, tf.float32) for each in matrix)
    changed = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(image, tf.float32)[None],
        transforms=tf.stack([a, b, c, d, e, f, 0.0, 0.0])[None],
        output_shape=image.shape[:2],
        fill_value=float(GRAY),
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    # Interpolated values are rounded; Pillow cuts off the fractions of all others.
    return tf.cast(tf.ensure_shape(changed[0], image.shape) + 0.5, tf.uint8)
