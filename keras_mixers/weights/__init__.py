"""Other people's weights: their names and layouts, where they are published, and other grids."""

from keras_mixers.weights.loading import activation, describe, load, tiles
from keras_mixers.weights.published import PUBLISHED, Published, path_of, published_of
from keras_mixers.weights.resizing import METHODS as RESIZE
from keras_mixers.weights.resizing import resize
from keras_mixers.weights.saving import save

__all__ = [
    "PUBLISHED",
    "RESIZE",
    "Published",
    "activation",
    "describe",
    "load",
    "path_of",
    "published_of",
    "resize",
    "save",
    "tiles",
]
