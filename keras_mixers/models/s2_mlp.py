"""S2-MLP: https://arxiv.org/abs/2106.07477."""

import os
from collections.abc import Callable
from typing import Any

from keras_mixers import weights as weight_files
from keras_mixers.layers import (
    ChannelMixing,
    LayerNormalization,
    PatchEmbedding,
    PointwiseDense,
    SpatialShift2D,
    checks,
)
from keras_mixers.layers.initializers import fan_in_uniform
from keras_mixers.models import assembly
from keras_mixers.models.family import Family
from keras_mixers.models.mixer_model import MixerModel
from keras_mixers.models.predictions import decode_predictions as decode_predictions
from keras_mixers.models.predictions import preprocess_input as preprocess_input
from keras_mixers.preprocessing import BY_IMAGENET, Preprocessing

# PyTorch's defaults: the authors published no code, and public reimplementations use these.
_EPSILON = 1e-5
_INITIALIZERS = dict(kernel_initializer="fan_in_uniform", bias_initializer="fan_in_uniform")

# No official weights exist; this is the usual preprocessing for training on ImageNet.
FAMILY = Family("s2_mlp", BY_IMAGENET)


@FAMILY.builder
def S2MLP(
    include_top: bool = True,
    weights: str | os.PathLike | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    include_preprocessing: bool = True,
    name: str = "s2_mlp",
    *,
    patch_size: int,
    hidden_dim: int,
    num_blocks: int,
    channels_mlp_dim: int,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    directions: str = "four",
    preprocessing: Preprocessing | None = None,
) -> MixerModel:
    """An S2-MLP: channels are shifted by one position instead of mixing tokens by weights.

    A functional model of named layers: `stem`, then per block, counted from 0,
    `block_0_shift_norm`, `block_0_shift_fc1`, `block_0_spatial_shift`, `block_0_shift_fc2`,
    `block_0_shift_add`, `block_0_channel_norm`, `block_0_channel_mixing`, `block_0_channel_add`,
    then `avg_pool`, `head`. There is no norm before the head, as in public
    reimplementations. Other papers cite S2-MLP-deep with 51 M parameters; the description gives
    53.9 M, most of them the 36 x 10 x 384^2 weights of its blocks.

    Args:
        {first_arguments}
        weights: `None` (random), or the path of a `.weights.h5` or `.keras` file of the same
            model, but for the head and the channels; no weights are published. Weights serve every
            image size.
        input_shape: `(height, width, channels)`, sides in pixels and multiples of `patch_size`,
            or None for any size. Defaults to `(224, 224, 3)`, also without the top.
        patch_size: Side of a patch in pixels.
        hidden_dim: Channels (the paper's c).
        num_blocks: Number of blocks.
        channels_mlp_dim: Hidden units of channel mixing (the paper's c-bar, r times c).
        dropout_rate: After each dense layer of channel mixing. Defaults to 0.
        drop_path_rate: Stochastic depth at the last block, rising linearly from 0 at the first.
            Defaults to 0.
        directions: Of the shift, see `keras_mixers.layers.SpatialShift2D`. Defaults to the
            paper's `"four"`.
        {last_arguments}

    Input shape: `(batch, height, width, channels)`, pixels of 0 to 255.
    Output shape: `(batch, classes)`; without the top
        `(batch, height / patch_size, width / patch_size, hidden_dim)` or `(batch, hidden_dim)`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is out of range, or the patch does not divide the image.

    Paper: https://arxiv.org/abs/2106.07477
    """
    source = weight_files.describe(weights, namings=FAMILY.namings)
    checks.positive_int("num_blocks", num_blocks)
    model = assembly.Assembly(
        FAMILY, input_tensor, input_shape, include_preprocessing, preprocessing, source
    )
    x = PatchEmbedding(hidden_dim, patch_size, name="stem", **_INITIALIZERS)(model.images)
    x = model.stem(x, patch_size)
    for i, rate in enumerate(assembly.drop_path_rates(drop_path_rate, num_blocks)):
        x = _block(x, channels_mlp_dim, directions, dropout_rate, rate, name=f"block_{i}")
        x = model.block(x, f"block_{i}")
    outputs = assembly.top(
        x, include_top, pooling, classes, classifier_activation, *_INITIALIZERS.values()
    )
    return model.finish(outputs, include_top, name, weights)


def _block(x, channels_mlp_dim, directions, dropout_rate, drop_path_rate, name):
    y = _norm(f"{name}_shift_norm")(x)
    y = _dense(x.shape[-1], "gelu", f"{name}_shift_fc1")(y)
    y = SpatialShift2D(directions, name=f"{name}_spatial_shift")(y)
    y = _dense(x.shape[-1], None, f"{name}_shift_fc2")(y)
    x = assembly.residual_sum(x, y, drop_path_rate, f"{name}_shift")
    y = _norm(f"{name}_channel_norm")(x)
    y = ChannelMixing(
        channels_mlp_dim,
        dropout_rate=dropout_rate,
        name=f"{name}_channel_mixing",
        **_INITIALIZERS,
    )(y)
    return assembly.residual_sum(x, y, drop_path_rate, f"{name}_channel")


def _norm(name):
    return LayerNormalization(epsilon=_EPSILON, name=name)


def _dense(dim, activation, name):
    """A dense layer from `dim` to `dim` channels."""
    return PointwiseDense(
        dim,
        activation=activation,
        kernel_initializer=fan_in_uniform(dim),
        bias_initializer=fan_in_uniform(dim),
        name=name,
    )


@FAMILY.variant(
    S2MLP, name="s2_mlp_wide", patch_size=16, hidden_dim=768, num_blocks=12, channels_mlp_dim=3072
)
def S2MLPWide():
    """S2-MLP-wide: 72.2 M parameters, 14.0 G multiply-adds."""


@FAMILY.variant(
    S2MLP, name="s2_mlp_deep", patch_size=16, hidden_dim=384, num_blocks=36, channels_mlp_dim=1536
)
def S2MLPDeep():
    """S2-MLP-deep: 53.9 M parameters, 10.5 G multiply-adds.

    ImageNet top-1 80.7 % (as cited in the PosMLP repository's README).
    """
