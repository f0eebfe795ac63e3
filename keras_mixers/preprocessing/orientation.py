"""How a stored image is turned before it is shown: EXIF's orientation, read in a TensorFlow graph.

1 is shown as it is stored; 2 is mirrored left to right, 3 turned by 180 degrees, 4 mirrored top to
bottom; 5 to 8 are transposed first: 5 no more, 6 turned clockwise, 7 along the other diagonal, 8
turned counterclockwise. Tag 274 of the Exif standard, CIPA DC-008, https://www.cipa.jp/std/.
"""

from keras_mixers.preprocessing import tracing

_TAG, _LONG = 0x0112, 4
_EXIF = b"Exif\0\0"


@tracing.once
def of(data):
    """Returns the orientation of an encoded image, an int32 tensor from 1 to 8.

    Of JPEG files, and of PNG files with an eXIf chunk; 1 of all others, and where it is damaged.
    """
    import tensorflow as tf

    one = tf.constant(1)
    return tf.cond(
        tf.io.is_jpeg(data),
        lambda: _of_jpeg(data),
        lambda: tf.cond(_text(data, 0, 4) == b"\x89PNG", lambda: _of_png(data), lambda: one),
    )


def is_plain_jpeg(data):
    """Returns whether a file is certainly a JPEG that says nothing of it: nearly all are.

    They have their tables first, or behind a JFIF header. It takes some microseconds.
    """
    import tensorflow as tf

    words = _words(tf.strings.join([_text(data, 0, 22), b"\0" * 22]), 0, 11)
    has_jfif = (words[1] == 0xFFE0) & (words[2] == 16)
    first = words[tf.where(has_jfif, 10, 1)]
    return (words[0] == 0xFFD8) & (first >= 0xFFC0) & (first < 0xFFE0)


def shown_shape(shape, orientation):
    """Returns `(height, width, ...)` of the image as it is shown, from that of the stored one."""
    import tensorflow as tf

    return tf.where(orientation >= 5, tf.concat([shape[1::-1], shape[2:]], axis=0), shape)


def stored_window(window, shape, orientation):
    """Returns where a part of the shown image is stored.

    Args:
        window: Top, left, height and width in the image as it is shown.
        shape: `(height, width, ...)` of the stored image.
        orientation: Of the image.
    """
    import tensorflow as tf

    height, width = tf.unstack(shown_shape(shape, orientation)[:2])
    top, left, rows, columns = tf.unstack(window)
    upside_down, mirrored = _flips(orientation)
    top = tf.where(upside_down, height - top - rows, top)
    left = tf.where(mirrored, width - left - columns, left)
    as_it_is = tf.stack([top, left, rows, columns])
    return tf.where(orientation >= 5, tf.stack([left, top, columns, rows]), as_it_is)


def turned(image, orientation):
    """Returns a stored image, or a window of it, as it is shown."""
    import tensorflow as tf

    def turn():
        transposed = tf.cond(
            orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image
        )
        return tf.reverse(transposed, tf.boolean_mask([0, 1], tf.stack(_flips(orientation))))

    return tf.cond(orientation == 1, lambda: image, turn)


def _flips(orientation):
    """Returns whether rows and columns come in reverse, after transposing."""
    import tensorflow as tf

    return tuple(
        tf.reduce_any(orientation == tf.constant(some)) for some in ([3, 4, 7, 8], [2, 3, 6, 7])
    )


def _of_jpeg(data):
    """Walks through the segments of a JPEG file, up to the pixels."""
    import tensorflow as tf

    length = tf.strings.length(data)

    def step(position, _):
        marker, size = tf.unstack(_words(data, position, 2))
        is_exif = (marker == 0xFFE1) & (_text(data, position + 4, 6) == _EXIF)
        ends = (marker < 0xFF01) | (marker == 0xFFDA) | (marker == 0xFFD9)
        found = tf.cond(
            is_exif,
            lambda: _of_tiff(_text(data, position + 10, tf.maximum(size - 8, 0))),
            lambda: tf.cast(ends, tf.int32),
        )
        return position + tf.where(marker == 0xFFFF, 1, 2 + size), found  # Or a byte that fills.

    return _walk(step, 2, length - 10)


def _of_png(data):
    """Walks through the chunks of a PNG file, up to the pixels."""
    import tensorflow as tf

    length = tf.strings.length(data)

    def step(position, _):
        high, low = tf.unstack(_words(data, position, 2))
        kind, size = _text(data, position + 4, 4), high * 2**16 + low
        ends = (kind == b"IDAT") | (high >= 2**12)  # So large are only the damaged ones.
        found = tf.cond(
            (kind == b"eXIf") & ~ends,
            lambda: _of_tiff(_text(data, position + 8, size)),
            lambda: tf.cast(ends, tf.int32),
        )
        return position + tf.where(ends, 0, 12 + size), found

    return _walk(step, 33, length - 12)  # Behind IHDR.


def _walk(step, first, last):
    """Takes steps from one place to the next, up to `last` or an orientation that is not 0."""
    import tensorflow as tf

    _, found = tf.while_loop(
        lambda position, found: (found == 0) & (position <= last),
        step,
        (tf.constant(first), tf.constant(0)),
    )
    return tf.maximum(found, 1)


def _of_tiff(tiff):
    """Returns the orientation in the first directory of an Exif block."""
    import tensorflow as tf

    length, order = tf.strings.length(tiff), _text(tiff, 0, 2)
    is_little = order == b"II"
    padded = tf.strings.join([tiff, b"\0" * 12])

    def words(position, count):
        return tf.cond(
            is_little,
            lambda: _words(padded, position, count, little_endian=True),
            lambda: _words(padded, position, count),
        )

    first, second = tf.unstack(words(4, 2))
    start = tf.where(is_little, first + 2**16 * second, 2**16 * first + second)
    is_known = (is_little | (order == b"MM")) & (start >= 8) & (start <= length - 2)
    start = tf.where(is_known, start, length)
    count = tf.minimum(words(start, 1)[0], tf.maximum(length - start - 2, 0) // 12)
    entries = tf.reshape(words(start + 2, 6 * count), (-1, 6))  # Tag, type, count (2), value (2).
    long = tf.where(is_little, entries[:, 4], entries[:, 5])
    values = tf.where(entries[:, 1] == _LONG, long, entries[:, 4])
    found = tf.reduce_max(tf.where(entries[:, 0] == _TAG, values, 0))
    return tf.where((found >= 1) & (found <= 8), found, 1)


def _text(data, position, length):
    import tensorflow as tf

    return tf.strings.substr(data, position, length)


def _words(data, position, count, little_endian=False):
    """Returns numbers of two bytes as int32."""
    import tensorflow as tf

    words = tf.io.decode_raw(
        _text(data, position, 2 * count), tf.uint16, little_endian=little_endian
    )
    return tf.cast(tf.ensure_shape(words, (count if isinstance(count, int) else None,)), tf.int32)
