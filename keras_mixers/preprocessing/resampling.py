"""From pixels of any size to those of a model, in TensorFlow or in Keras: stretched, or padded."""

import numpy as np


def resized(images, preprocessing, antialias):
    """Returns tensors of 0 to 255, of any size, as uint8 of the size of a `Preprocessing`."""
    import tensorflow as tf

    size, how = preprocessing.size, preprocessing.interpolation
    if size is not None and preprocessing.crop_mode == "pad":
        rows, columns = sides = fitting_size(*height_and_width(images), size)
        images = tf.image.resize(images, sides, how, antialias=antialias)
        fill = _fill(preprocessing, images.shape[-1])
        before = (size[0] - rows) // 2, (size[1] - columns) // 2
        after = size[0] - rows - before[0], size[1] - columns - before[1]
        around = [[0, 0]] * (images.shape.rank - 3) + [*zip(before, after, strict=True), [0, 0]]
        images = tf.pad(images - fill, around) + fill
        images = tf.ensure_shape(images, (*images.shape[:-3], *size, images.shape[-1]))
    elif size is not None:
        images = tf.image.resize(images, size, how, antialias=antialias)
    return rounded(tf.clip_by_value(tf.cast(images, tf.float32), 0, 255))


def resized_by_keras(images, preprocessing):
    """Does what `resized` does, on any backend; always antialiased."""
    import keras

    images = keras.ops.convert_to_tensor(images, "float32")
    size, is_padded = preprocessing.size, preprocessing.crop_mode == "pad"
    if size is not None:
        images = keras.ops.image.resize(
            images,
            fitting_size(*images.shape[-3:-1], size) if is_padded else size,
            interpolation=preprocessing.interpolation,
            antialias=True,
            data_format="channels_last",
        )
    if size is not None and is_padded:
        missing = [most - there for most, there in zip(size, images.shape[-3:-1], strict=True)]
        around = [(n // 2, n - n // 2) for n in missing]
        fill = _fill(preprocessing, images.shape[-1])
        around = [(0, 0)] * (len(images.shape) - 3) + [*around, (0, 0)]
        images = keras.ops.pad(images - fill, around) + fill
    return keras.ops.cast(keras.ops.clip(images, 0, 255) + 0.5, "uint8")


def fitting_size(height, width, size):
    """Returns `(height, width)` of an image that is resized to fit into `size`; also of tensors."""
    rows, columns = size
    if isinstance(height, int):
        scale = min(rows / height, columns / width)
        sides = (
            max(1, min(int(np.round(n * scale)), most))
            for n, most in ((height, rows), (width, columns))
        )
        return tuple(sides)
    import tensorflow as tf

    height, width = (tf.cast(n, tf.float64) for n in (height, width))
    scale = tf.minimum(rows / height, columns / width)
    return tf.clip_by_value(
        tf.cast(tf.round(tf.stack([height, width]) * scale), tf.int32), 1, [rows, columns]
    )


def _fill(preprocessing, channels):
    """What stands around a padded image: the mean, which is 0 when it has been scaled."""
    return 255 * np.array(preprocessing.for_channels(channels).mean, "float32")


def rounded(images):
    """Returns uint8 of floats from 0 to 255."""
    import tensorflow as tf

    return tf.cast(images + 0.5, tf.uint8)


def height_and_width(images):
    """Returns both of a tensor: numbers where they are known, else tensors."""
    import tensorflow as tf

    static = images.shape[-3:-1]
    if None not in static:
        return tuple(static)
    shape = tf.shape(images)
    return shape[-3], shape[-2]
