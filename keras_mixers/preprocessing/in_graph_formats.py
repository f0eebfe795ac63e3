"""What TensorFlow's own operations read of image files, in a graph that can be exported."""

from keras_mixers.preprocessing import tracing
from keras_mixers.preprocessing.decoding import LARGE

_READ = "JPEG, PNG, GIF or BMP of 24 or 32 bits"


@tracing.once
def is_known(data):
    """Returns whether `decode`, or a JPEG decoder, reads the file as other readers do.

    Not so large ones, which would take much memory at once, nor what others read better.
    """
    import tensorflow as tf

    return tf.cond(
        tf.io.is_jpeg(data),
        lambda: tf.reduce_prod(tf.io.extract_jpeg_shape(data)[:2]) <= LARGE,
        lambda: tf.cond(
            _is_png(data),
            lambda: (_pixels_of_png(data) <= LARGE) & ~_has_a_transparent_color(data),
            lambda: tf.constant(False),
        ),
    )


def check(data, max_pixels):
    """Returns an operation that fails, with a sentence, for a file that `decode` cannot read."""
    import tensorflow as tf

    is_jpeg, is_png = tf.io.is_jpeg(data), _is_png(data)
    start = tf.strings.substr(data, 0, 2)
    is_gif = tf.strings.substr(data, 0, 4) == b"GIF8"
    # Palettes of BMP files are not looked up.
    is_other = is_gif | ((start == b"BM") & (_byte(data, 28) >= 24))
    known = tf.debugging.Assert(
        is_jpeg | is_png | is_other, [f"the file must be {_READ}; it is none, by its first bytes"]
    )
    with tf.control_dependencies([known] if known is not None else []):
        pixels = tf.cond(
            is_jpeg,
            lambda: tf.reduce_prod(tf.cast(tf.io.extract_jpeg_shape(data)[:2], tf.int64)),
            lambda: tf.cond(is_png, lambda: _pixels_of_png(data), lambda: tf.constant(0, tf.int64)),
        )
    few = tf.debugging.Assert(
        pixels <= max_pixels, [f"the image must have at most {max_pixels:,} pixels"]
    )
    with tf.control_dependencies([few] if few is not None else []):
        is_see_through = (is_png & _has_a_transparent_color(data)) | (
            is_gif & _is_see_through(data)
        )
        plain = tf.debugging.Assert(
            ~is_see_through,
            [
                "the file must have no transparent color: what is transparent is read of PNG files "
                "with an alpha channel or a palette only"
            ],
        )
    return tf.no_op() if plain is None else plain


def decode(data, value_range):
    """Returns the pixels of a PNG, BMP or GIF file, uint8 of shape `(height, width, 3)`.

    What is transparent in a PNG is put on white; 16 bits become 8 by `value_range`.
    """
    import tensorflow as tf

    def of_png():
        depth, kind = _png_header(data)
        has_alpha = (kind == 4) | (kind == 6) | (kind == 3)  # A palette may have some.

        def with_alpha():
            return _on_white(tf.cast(tf.io.decode_png(data, channels=4), tf.float32) / 255, None)

        def of_16_bits():
            numbers = tf.cast(tf.io.decode_png(data, channels=4, dtype=tf.uint16), tf.float32)
            return _on_white(numbers / 65535, value_range)

        def plain():
            return tf.io.decode_png(data, channels=3)

        return tf.cond(depth == 16, of_16_bits, lambda: tf.cond(has_alpha, with_alpha, plain))

    def of_other():
        return tf.io.decode_image(data, channels=3, expand_animations=False)

    image = tf.cond(_is_png(data), of_png, of_other)
    return tf.ensure_shape(image, (None, None, 3))


def _on_white(colors, value_range):
    """Returns uint8 of colors and opacity of 0 to 1, `(height, width, 4)`."""
    import tensorflow as tf

    colors, alpha = colors[..., :3], colors[..., 3:]
    if value_range is not None:
        low, high = (value / 65535 for value in value_range)
        colors = tf.clip_by_value((colors - low) / (high - low), 0, 1)
    return tf.cast(255 * (colors * alpha + 1 - alpha) + 0.5, tf.uint8)


def _is_png(data):
    import tensorflow as tf

    return tf.strings.substr(data, 0, 4) == b"\x89PNG"


def _png_header(data):
    """Returns the bits of a channel and the color type."""
    return _byte(data, 24), _byte(data, 25)


def _byte(data, place):
    import tensorflow as tf

    # `substr` fails where it begins behind the end.
    begin = tf.minimum(place, tf.strings.length(data))
    padded = tf.strings.join([tf.strings.substr(data, begin, 1), b"\0"])
    return tf.io.decode_raw(tf.strings.substr(padded, 0, 1), tf.uint8)[0]


def _pixels_of_png(data):
    import tensorflow as tf

    padded = tf.strings.join([tf.strings.substr(data, 16, 8), b"\0" * 8])
    sides = tf.io.decode_raw(tf.strings.substr(padded, 0, 8), tf.int32, little_endian=False)
    return tf.reduce_prod(tf.cast(sides, tf.int64))


def _has_a_transparent_color(data):
    """Whether a PNG of gray or color has a color that stands for none, which TensorFlow ignores."""
    import tensorflow as tf

    _, kind = _png_header(data)

    def look():
        before = tf.strings.split([data], b"IDAT", maxsplit=1).flat_values[0]
        return tf.size(tf.strings.split([before], b"tRNS").flat_values) > 1

    return tf.cond((kind == 0) | (kind == 2), look, lambda: tf.constant(False))


def _is_see_through(data):
    """Whether the first frame of a GIF has a color that stands for none, which becomes black."""
    import tensorflow as tf

    # Behind the header and the palette, at once or after a few other blocks.
    flags = tf.cast(_byte(data, 10), tf.int32)
    palette = tf.where(flags >= 128, 6 * tf.bitwise.left_shift(1, flags % 8), 0)
    start = tf.minimum(13 + palette, tf.strings.length(data))
    blocks = tf.strings.substr(data, start, 256)
    before = tf.strings.split([blocks], b"!\xf9\x04", maxsplit=1).flat_values
    return tf.cond(
        tf.size(before) > 1, lambda: _byte(before[1], 0) % 2 == 1, lambda: tf.constant(False)
    )
