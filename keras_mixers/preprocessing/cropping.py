"""From the bytes of an image file, or its pixels, to pixels of the size that a model sees."""

import importlib.util

import numpy as np

from keras_mixers.errors import first_line
from keras_mixers.preprocessing import decoding, resampling
from keras_mixers.preprocessing.decoding import MAX_PIXELS

_FINE = 2**14  # Sides of the square on which a part of an image of any aspect ratio is drawn.


def is_encoded(image):
    """Returns whether `image` is a string tensor of TensorFlow: the bytes of a file."""
    return _is_tensorflow(image) and image.dtype.name == "string"


def central(images, preprocessing):
    """Returns pixels, cropped or padded and resized as `preprocessing` says, as uint8.

    Args:
        images: Array or tensor from 0 to 255, `(height, width, channels)` or with a batch before.
        preprocessing: A `Preprocessing`.
    """
    if _is_tensorflow(images):
        height, width = resampling.height_and_width(images)
    else:
        height, width = images.shape[-3:-1]
    window = _window(height, width, preprocessing)
    top, left, rows, columns = (window[i] for i in range(4))
    cropped = images[..., top : top + rows, left : left + columns, :]
    if _is_tensorflow(images):
        return resampling.resized(_checked(cropped), preprocessing, antialias=True)
    resized = resampling.resized_by_keras(cropped, preprocessing)
    return np.asarray(resized) if isinstance(images, np.ndarray) else resized


def decode_central(data, preprocessing, channels=3, max_pixels=MAX_PIXELS, in_graph=False):
    """Returns `central` of an encoded image: a NumPy array of `bytes`, a tensor of a tensor.

    Args:
        data: Bytes, or a string tensor, of one image file or `(batch,)`.
        preprocessing: A `Preprocessing`.
        channels: 1 for gray, 3 for colors, or as many as the file has.
        max_pixels: Images of more are refused.
        in_graph: Whether only TensorFlow's own operations are used, which can be exported, but do
            not read every format.
    """
    if is_encoded(data) and data.shape.rank == 1:
        return _decode_batch(data, preprocessing, channels)
    if not is_encoded(data):
        try:
            return _central_of_bytes(data, preprocessing, channels, max_pixels)
        except ValueError as error:
            raise ValueError(f"`image` must be an image file that is whole: {error}") from None
    image = _crop(
        data,
        lambda shape: _window(shape[0], shape[1], preprocessing),
        preprocessing,
        channels,
        max_pixels,
        in_graph,
    )
    return resampling.resized(image, preprocessing, antialias=True)


def _central_of_bytes(data, preprocessing, channels, max_pixels):
    if importlib.util.find_spec("tensorflow") is None:
        decoding.shown_shape(data, channels, max_pixels)
        return central(decoding.read(data, channels, preprocessing.value_range), preprocessing)
    import tensorflow as tf

    try:
        return decode_central(tf.constant(data), preprocessing, channels, max_pixels).numpy()
    except tf.errors.OpError as error:
        raise ValueError(first_line(error)) from None


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


def random_crop(data, seed, preprocessing, min_area, channels=3, max_pixels=MAX_PIXELS):
    """An inception crop: a random part of the area.

    Its aspect ratio is 3/4 to 4/3 of that of the result; or, where the whole image is what is seen
    in evaluation (the modes squash and pad), of that of the image.

    Args:
        data: String tensor, the bytes of an image file.
        seed: Tensor of shape `(2,)`.
        preprocessing: A `Preprocessing`; its size, interpolation and crop mode are used.
        min_area: Smallest share of the image's area.
        channels: As of `decode_central`.
        max_pixels: As of `decode_central`.
    """
    import tensorflow as tf

    is_whole = preprocessing.crop_mode != "center"
    rows, columns = preprocessing.size
    aspect = 1 if is_whole else columns / rows

    def choose(shape):
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            [_FINE, _FINE, 3] if is_whole else shape,
            tf.zeros((1, 0, 4)),
            seed,
            min_object_covered=0,
            aspect_ratio_range=(3 / 4 * aspect, 4 / 3 * aspect),
            area_range=(min_area, 1.0),
            use_image_if_no_bounding_boxes=True,
        )
        if not is_whole:
            return tf.concat([begin[:2], size[:2]], axis=0)
        scale = tf.cast(shape[:2], tf.float32) / _FINE
        size = tf.maximum(tf.cast(tf.cast(size[:2], tf.float32) * scale, tf.int32), 1)
        begin = tf.cast(tf.cast(begin[:2], tf.float32) * scale, tf.int32)
        return tf.concat([tf.minimum(begin, shape[:2] - size), size], axis=0)

    antialias = preprocessing.interpolation == "bicubic"
    image = _crop(data, choose, preprocessing, channels, max_pixels)
    return resampling.resized(image, preprocessing, antialias)


def _window(height, width, preprocessing):
    """Returns top, left, height and width of what is seen; numbers, or a tensor of them."""
    if preprocessing.crop_mode != "center":
        if isinstance(height, int):
            return 0, 0, height, width
        import tensorflow as tf

        return tf.stack([0, 0, height, width])
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


def _crop(data, choose, preprocessing, channels=3, max_pixels=MAX_PIXELS, in_graph=False):
    """Decodes the window `choose(shape)` of the shown image; of a JPEG, no more than that."""
    import tensorflow as tf

    from keras_mixers.preprocessing import orientation

    def by_pillow():
        image = _by_pillow(data, choose, preprocessing, channels, max_pixels)
        return tf.ensure_shape(image, (None, None, channels))

    def by_tensorflow():
        turn = orientation.of(data)

        def window_of(shape):
            chosen = choose(orientation.shown_shape(shape, turn))
            return orientation.stored_window(chosen, shape, turn)

        def of_jpeg():
            window = window_of(tf.io.extract_jpeg_shape(data))
            return tf.io.decode_and_crop_jpeg(data, window, channels=3)

        def of_other():
            image = in_graph_formats.decode(data, preprocessing.value_range)
            top, left, height, width = tf.unstack(window_of(tf.shape(image)))
            return image[top : top + height, left : left + width]

        return orientation.turned(tf.cond(tf.io.is_jpeg(data), of_jpeg, of_other), turn)

    from keras_mixers.preprocessing import in_graph_formats

    if channels not in (1, 3):
        return by_pillow()

    def others():
        if in_graph:
            with tf.control_dependencies([in_graph_formats.check(data, max_pixels)]):
                return _gray(by_tensorflow(), channels)
        is_known = in_graph_formats.is_known(data)
        return tf.cond(is_known, lambda: _gray(by_tensorflow(), channels), by_pillow)

    if not tf.executing_eagerly():
        # A function that stays one: else its hundred nodes are visited for each plain JPEG, too.
        others = tf.function(others, autograph=False, experimental_attributes={"_noinline": True})

    def plain():
        shape = tf.io.extract_jpeg_shape(data)

        def read():
            window = choose(shape)
            return _gray(tf.io.decode_and_crop_jpeg(data, window, channels=3), channels)

        return tf.cond(shape[0] * shape[1] <= decoding.LARGE, read, others)

    image = tf.cond(orientation.is_plain_jpeg(data), plain, others)
    image.set_shape((None, None, channels))
    return image


def _gray(image, channels):
    import tensorflow as tf

    return tf.image.rgb_to_grayscale(image) if channels == 1 else image


def _by_pillow(data, choose, preprocessing, channels, max_pixels):
    """Does what `_crop` does, outside of the graph: any format, large images within a budget."""

    def shape_of(file):
        return decoding.shown_shape(file, channels, max_pixels)

    window = choose(_outside(shape_of, np.ones(3, "int32"), data))

    def read(file, window):
        size = preprocessing.size
        if preprocessing.crop_mode == "pad" and size is not None:
            size = resampling.fitting_size(*map(int, window[2:]), size)
        return decoding.read(
            *(file, channels, preprocessing.value_range),
            *(window, size, preprocessing.interpolation),
        )

    return _outside(read, np.zeros((1, 1, channels), "uint8"), data, window)


def _outside(function, failed, data, *arguments):
    """Calls a function of a file outside of the graph.

    What it returns is of the type and rank of `failed`; a `ValueError` becomes TensorFlow's, with
    its sentence and without a traceback.
    """
    import tensorflow as tf

    def call(file, *others):
        file = file if isinstance(file, bytes) else file.item()  # TensorFlow gives it either way.
        try:
            return function(file, *others), b""
        except ValueError as error:
            return failed, str(error).encode()

    result, why = tf.numpy_function(call, [data, *arguments], (failed.dtype, tf.string))
    succeeded = tf.debugging.Assert(tf.equal(tf.strings.length(why), 0), [why])
    with tf.control_dependencies([] if succeeded is None else [succeeded]):
        return tf.ensure_shape(
            tf.identity(result), (3,) if failed.ndim == 1 else (None, None, None)
        )


def _checked(images):
    """Returns a tensor that is an error, when it has values, where they are no pixels."""
    import tensorflow as tf

    if tf.executing_eagerly() or images.dtype == tf.uint8:  # Looked at before.
        return images
    are_pixels = tf.reduce_all((images >= 0) & (images <= 255))
    message = "`image` must have pixels of 0 to 255: give no scaled ones."
    with tf.control_dependencies([tf.debugging.Assert(are_pixels, [message])]):
        return tf.identity(images)


def _is_tensorflow(value):
    return type(value).__module__.startswith("tensorflow")
