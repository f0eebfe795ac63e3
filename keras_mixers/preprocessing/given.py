"""What a user gives as an image: told apart, and what are no pixels refused."""

import logging

import numpy as np

_KINDS = (
    "the path of an image file, its bytes, a PIL image, pixels of shape (height, width, channels) "
    "or (batch, height, width, channels), or a list of these"
)
_log = logging.getLogger("keras_mixers")


def is_pil(image):
    """Returns whether it is an image of Pillow, which need not be there."""
    return any(kind.__module__.startswith("PIL.") for kind in type(image).__mro__)


def stacked(images):
    """Returns a batch of prepared images: of arrays, or of tensors where the first is one.

    Raises:
        ValueError: There are none, or they differ in size.
    """
    shapes = list(dict.fromkeys(tuple(image.shape) for image in images))
    if len(shapes) != 1 or len(shapes[0]) != 3:
        found = " and ".join(map(str, shapes[:2])) or "none"
        raise ValueError(
            "`image` as a list must hold single images, of one size where `image_size` is None. "
            f"Received: images of {found}"
        )
    if all(isinstance(image, np.ndarray) for image in images):
        return np.stack(images)
    import keras

    return keras.ops.stack(images)


def check_pixels(image):
    """Raises a `ValueError` for what are no pixels; logs a line where they may be scaled.

    Of a tensor without values yet, as in a `tf.data` pipeline, only the shape is looked at.
    """
    if not hasattr(image, "shape") or not hasattr(image, "dtype"):
        raise ValueError(f"`image` must be {_KINDS}. Received: {type(image).__name__}")
    rank = getattr(image.shape, "rank", None) if _is_symbolic(image) else len(image.shape)
    if rank not in (3, 4) and not (rank is None and _is_symbolic(image)):
        raise ValueError(
            "`image` must have the shape (height, width, channels) or (batch, height, width, "
            "channels): a gray image needs a last axis of 1. "
            f"Received: shape={tuple(image.shape)}"
        )
    if not _is_symbolic(image):
        _check_values(np.asarray(image))


def _is_symbolic(image):
    has_values = isinstance(image, np.ndarray) or hasattr(image, "numpy")
    return not has_values and type(image).__name__ != "ArrayImpl"  # JAX's; not its tracers.


def _check_values(pixels):
    if pixels.dtype.name == "bfloat16":
        pixels = pixels.astype("float32")
    if pixels.dtype.kind not in "iuf" or not pixels.size:
        what = f"dtype={pixels.dtype}" if pixels.size else f"no pixel, shape={pixels.shape}"
        raise ValueError(
            f"`image` must have real numbers from 0 to 255 as pixels. Received: {what}"
        )
    if pixels.dtype == "uint8":
        return
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= 255):  # What is no number is neither.
        raise ValueError(
            "`image` must have pixels of 0 to 255: rescale images of more bits, and give no scaled "
            f"ones. Received: values from {low:g} to {high:g}"
        )
    if pixels.dtype.kind == "f" and 0 < high <= 1:
        _log.warning(
            "preprocessing: the largest pixel is %g, of 0 to 255; multiply images of 0 to 1 by 255",
            high,
        )
