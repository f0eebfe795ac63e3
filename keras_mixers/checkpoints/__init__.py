"""Other people's weights: their names and layouts, where they are published, and other grids."""

from keras_mixers.checkpoints.loading import activation, describe, load, tiles
from keras_mixers.checkpoints.published import PUBLISHED, Published, path_of
from keras_mixers.checkpoints.resolution import METHODS as RESIZE
from keras_mixers.checkpoints.resolution import resize
from keras_mixers.checkpoints.saving import save

__all__ = [
    "PUBLISHED",
    "RESIZE",
    "Published",
    "activation",
    "describe",
    "load",
    "path_of",
    "resize",
    "save",
    "tiles",
]
