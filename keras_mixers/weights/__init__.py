"""Other people's weights: their names and layouts, where they are published, and other grids."""

from keras_mixers.weights.loading import assign, load
from keras_mixers.weights.published import (
    PUBLISHED,
    Published,
    list_weights,
    name_of,
    path_of,
    published_row,
)
from keras_mixers.weights.resizing import METHODS as RESIZE
from keras_mixers.weights.resizing import resize
from keras_mixers.weights.saving import save
from keras_mixers.weights.shapes import Shapes
from keras_mixers.weights.source import activation, describe, tiles

__all__ = [
    "PUBLISHED",
    "RESIZE",
    "Published",
    "Shapes",
    "activation",
    "assign",
    "describe",
    "list_weights",
    "load",
    "name_of",
    "path_of",
    "published_row",
    "resize",
    "save",
    "tiles",
]
