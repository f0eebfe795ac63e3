"""From pixels to what a family's official weights expect."""

import keras
import numpy as np

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_minus_one_one(images):
    """Scales pixels from [0, 255] to [-1, 1]."""
    return _as_float(images) / 127.5 - 1.0


def standardize(images):
    """Scales RGB pixels from [0, 255] by ImageNet's mean and standard deviation."""
    if images.shape[-1] != 3:
        raise ValueError(
            "`images` must have 3 channels (red, green, blue), because mean and deviation are "
            f"those of ImageNet. Received: shape={tuple(images.shape)}"
        )
    mean = np.array(IMAGENET_MEAN, "float32")
    std = np.array(IMAGENET_STD, "float32")
    return (_as_float(images) / 255.0 - mean) / std


def _as_float(images):
    if isinstance(images, np.ndarray):
        return images.astype("float32")
    return keras.ops.cast(images, "float32")
