"""From the bytes of an image file, or its pixels, to pixels of the size that a model sees."""

import importlib.util
import io

import numpy as np

from keras_mixers.preprocessing import given


def is_encoded(image):
    """Returns whether `image` is a string tensor of TensorFlow: the bytes of a file."""
    return _is_tensorflow(image) and image.dtype.name == "string"


def central(images, preprocessing):
    """Returns the central crop of pixels, resized, as uint8.

    Args:
        images: Array or tensor from 0 to 255, `(height, width, channels)` or with a batch before.
        preprocessing: A `Preprocessing`.
    """
    if _is_tensorflow(images):
        height, width = _shape(images)
    else:
        height, width = images.shape[-3:-1]
    window = _window(height, width, preprocessing)
    top, left, rows, columns = (window[i] for i in range(4))
    cropped = images[..., top : top + rows, left : left + columns, :]
    if _is_tensorflow(images):
        cropped = _checked(cropped)
        return _resized(cropped, preprocessing.size, preprocessing.interpolation, antialias=True)
    resized = _resized_by_keras(cropped, preprocessing)
    return np.asarray(resized) if isinstance(images, np.ndarray) else resized


def decode_central(data, preprocessing, channels=3):
    """Returns `central` of an encoded image: a NumPy array of `bytes`, a tensor of a tensor."""
    if is_encoded(data) and data.shape.rank == 1:
        return _decode_batch(data, preprocessing, channels)
    if not is_encoded(data):
        _report_orientation(data)
        if importlib.util.find_spec("tensorflow") is None:
            return central(_decode_by_pillow(data, channels), preprocessing)
        import tensorflow as tf

        try:
            return decode_central(tf.constant(data), preprocessing, channels).numpy()
        except tf.errors.InvalidArgumentError as error:
            reason = str(error).split("}} ")[-1].splitlines()[0].split(" [Op:")[0]
            raise ValueError(f"`image` must be an image file that is whole. {reason}") from None
    image = _crop(data, lambda shape: _window(shape[0], shape[1], preprocessing))
    size, interpolation = preprocessing.size, preprocessing.interpolation
    image = _resized(image, size, interpolation, antialias=True)
    if channels == 1:
        import tensorflow as tf

        image = tf.image.rgb_to_grayscale(image)
    return image


def _decode_batch(data, preprocessing, channels):
    import tensorflow as tf

    if preprocessing.size is None:
        raise ValueError(
            "`image_size` must be given for a batch of encoded images, which differ in size. "
            "Received: image_size=None"
        )
    return tf.map_fn(
        lambda one: decode_central(one, preprocessing, channels),
        data,
        fn_output_signature=tf.TensorSpec((*preprocessing.size, channels), tf.uint8),
    )


def random_crop(data, seed, preprocessing, min_area):
    """An inception crop: a random part of the area, of an aspect ratio from 3:4 to 4:3.

    Args:
        data: String tensor, the bytes of an image file.
        seed: Tensor of shape `(2,)`.
        preprocessing: A `Preprocessing`; its size and interpolation are used.
        min_area: Smallest share of the image's area.
    """
    import tensorflow as tf

    def choose(shape):
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            tf.zeros((1, 0, 4)),
            seed,
            min_object_covered=0,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(min_area, 1.0),
            use_image_if_no_bounding_boxes=True,
        )
        return tf.concat([begin[:2], size[:2]], axis=0)

    interpolation = preprocessing.interpolation
    antialias = interpolation == "bicubic"
    return _resized(_crop(data, choose), preprocessing.size, interpolation, antialias)


def decode(data):
    """Returns the pixels of an encoded image, uint8 of shape `(height, width, 3)`."""
    import tensorflow as tf

    return tf.io.decode_image(data, channels=3, expand_animations=False)


def rounded(images):
    """Returns uint8 of floats from 0 to 255."""
    import tensorflow as tf

    return tf.cast(images + 0.5, tf.uint8)


def _window(height, width, preprocessing):
    """Returns top, left, height and width of the central crop; numbers, or a tensor of them."""
    rows, columns = preprocessing.size or (1, 1)
    # Whole numbers as long as possible: at a tie, the least error would move the crop by a pixel.
    if isinstance(height, int):
        area = min(height * columns, width * rows)
        sides = [
            np.float32(area / other) * np.float32(preprocessing.crop) for other in (columns, rows)
        ]
        sides = [max(int(np.round(side)), 1) for side in sides]
        return (height - sides[0]) // 2, (width - sides[1]) // 2, *sides
    import tensorflow as tf

    height_64, width_64 = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
    area = tf.minimum(height_64 * columns, width_64 * rows)
    sides = [tf.cast(area / other, tf.float32) * preprocessing.crop for other in (columns, rows)]
    sides = [tf.maximum(tf.cast(tf.round(side), tf.int32), 1) for side in sides]
    return tf.stack([(height - sides[0]) // 2, (width - sides[1]) // 2, *sides])


def _crop(data, choose):
    """Decodes the window `choose(shape)` of an image; of a JPEG, nothing but that window."""
    import tensorflow as tf

    def of_jpeg():
        window = choose(tf.io.extract_jpeg_shape(data))
        return tf.io.decode_and_crop_jpeg(data, window, channels=3)

    def of_other():
        image = decode(data)
        top, left, height, width = tf.unstack(choose(tf.shape(image)))
        return image[top : top + height, left : left + width]

    image = tf.cond(tf.io.is_jpeg(data), of_jpeg, of_other)
    image.set_shape((None, None, 3))
    return image


def _resized(images, size, interpolation, antialias):
    import tensorflow as tf

    if size is not None:
        images = tf.image.resize(images, size, interpolation, antialias=antialias)
    return rounded(tf.clip_by_value(tf.cast(images, tf.float32), 0, 255))


def _checked(images):
    """Returns a tensor that is an error, when it has values, where they are no pixels."""
    import tensorflow as tf

    if tf.executing_eagerly() or images.dtype == tf.uint8:  # Looked at before.
        return images
    are_pixels = tf.reduce_all((images >= 0) & (images <= 255))
    message = "`image` must have pixels of 0 to 255: give no scaled ones."
    with tf.control_dependencies([tf.debugging.Assert(are_pixels, [message])]):
        return tf.identity(images)


def _resized_by_keras(images, preprocessing):
    import keras

    images = keras.ops.convert_to_tensor(images, "float32")
    if preprocessing.size is not None:
        images = keras.ops.image.resize(
            images,
            preprocessing.size,
            interpolation=preprocessing.interpolation,
            antialias=True,
            data_format="channels_last",
        )
    return keras.ops.cast(keras.ops.clip(images, 0, 255) + 0.5, "uint8")


def _decode_by_pillow(data, channels):
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB" if channels == 3 else "L")).reshape(
            image.height, image.width, channels
        )


def _report_orientation(data):
    """Logs a line for a photograph that is stored turned; needs Pillow, and is silent without."""
    try:
        from PIL import Image

        with Image.open(io.BytesIO(data)) as image:
            given.report_orientation(image)
    except (ImportError, OSError):  # What is no image is refused where it is decoded.
        return


def _shape(images):
    import tensorflow as tf

    static = images.shape[-3:-1]
    if None not in static:
        return tuple(static)
    shape = tf.shape(images)
    return shape[-3], shape[-2]


def _is_tensorflow(value):
    return type(value).__module__.startswith("tensorflow")
