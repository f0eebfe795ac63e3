"""From an image of any kind to what a model was trained on; knows no model."""

from keras_mixers.preprocessing.layer import ImagePreprocessing
from keras_mixers.preprocessing.preprocessing import (
    BY_IMAGENET,
    IMAGENET_MEAN,
    IMAGENET_STD,
    INTERPOLATIONS,
    TO_MINUS_ONE_ONE,
    TO_ZERO_ONE,
    Preprocessing,
)

__all__ = [
    "BY_IMAGENET",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "INTERPOLATIONS",
    "TO_MINUS_ONE_ONE",
    "TO_ZERO_ONE",
    "ImagePreprocessing",
    "Preprocessing",
]
