"""From an image of any kind to what a model was trained on; knows no model.

Only the layer imports Keras, when it is first used: settings of a command name means
and standard deviations, and are parsed without Keras.
"""

from typing import TYPE_CHECKING

from keras_mixers.preprocessing.preprocessing import (
    BY_IMAGENET,
    CROP_MODES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    INTERPOLATIONS,
    TO_MINUS_ONE_ONE,
    TO_ZERO_ONE,
    UNSCALED,
    Preprocessing,
)

if TYPE_CHECKING:
    from keras_mixers.preprocessing.layer import ImagePreprocessing

__all__ = [
    "BY_IMAGENET",
    "CROP_MODES",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "INTERPOLATIONS",
    "TO_MINUS_ONE_ONE",
    "TO_ZERO_ONE",
    "UNSCALED",
    "ImagePreprocessing",
    "Preprocessing",
]

# Type checkers take the names from above: with this function, any name would be right to them.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name == "ImagePreprocessing":
            from keras_mixers.preprocessing.layer import ImagePreprocessing

            return ImagePreprocessing
        raise AttributeError(f"module 'keras_mixers.preprocessing' has no attribute {name!r}")
