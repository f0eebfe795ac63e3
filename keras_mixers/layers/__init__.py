"""The primitives of mixer models, on feature maps of shape `(batch, height, width, channels)`."""

from keras_mixers.layers.activation import Activation
from keras_mixers.layers.axial_projection import AxialProjection
from keras_mixers.layers.batch_normalization import SyncBatchNormalization
from keras_mixers.layers.channel_mixing import ChannelMixing
from keras_mixers.layers.drop_path import DropPath
from keras_mixers.layers.layer_normalization import LayerNormalization
from keras_mixers.layers.patch_embedding import PatchEmbedding
from keras_mixers.layers.patch_merging import PatchMerging
from keras_mixers.layers.pointwise_dense import PointwiseDense
from keras_mixers.layers.residual_add import ResidualAdd
from keras_mixers.layers.spatial_shift import SpatialShift2D
from keras_mixers.layers.token_mixing import TokenMixing

__all__ = [
    "Activation",
    "AxialProjection",
    "ChannelMixing",
    "DropPath",
    "LayerNormalization",
    "PatchEmbedding",
    "PatchMerging",
    "PointwiseDense",
    "ResidualAdd",
    "SpatialShift2D",
    "SyncBatchNormalization",
    "TokenMixing",
]
