"""From pixels to what a model sees; on the device, so that pictures travel as bytes."""

import keras
import numpy as np
from keras import ops

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def scale(images, pixel_range):
    """Returns float32 pictures as a model sees them.

    Args:
        images: Tensor `(batch, height, width, 3)`: uint8 pixels. Floats are returned as they are:
            whoever made them has scaled them.
        pixel_range: `"minus_one_one"`, or `"imagenet"`: its mean and deviation taken out.
    """
    if keras.backend.standardize_dtype(images.dtype) != "uint8":
        return images
    images = ops.cast(images, "float32")
    if pixel_range == "minus_one_one":
        return images / 127.5 - 1
    mean, std = (255 * np.array(values, "float32") for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images - mean) / std
