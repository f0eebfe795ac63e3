"""sMLPNet: https://arxiv.org/abs/2109.05422."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_mixers import weights as weight_files
from keras_mixers.layers import (
    Activation,
    AxialProjection,
    ChannelMixing,
    LayerNormalization,
    PatchEmbedding,
    PatchMerging,
    SyncBatchNormalization,
    checks,
)
from keras_mixers.layers.initializers import fan_in_uniform
from keras_mixers.models import assembly
from keras_mixers.models.family import Family
from keras_mixers.models.mixer_model import MixerModel
from keras_mixers.models.predictions import decode_predictions as decode_predictions
from keras_mixers.models.predictions import preprocess_input as preprocess_input
from keras_mixers.preprocessing import BY_IMAGENET, Preprocessing
from keras_mixers.weights import names

# PyTorch's defaults, with which the official code trains; momentum 0.9 is PyTorch's 0.1.
_EPSILON = 1e-5
_MOMENTUM = 0.9
_INITIALIZERS = dict(kernel_initializer="fan_in_uniform", bias_initializer="fan_in_uniform")

# https://github.com/microsoft/SPACH, models/smlp.py: proj_h runs along the width, and proh_w (their
# spelling) along the height.
_SPACH = names.Naming(
    title="SPACH's sMLPNet",
    mark="token_mix.0.1.proj_h.weight",
    activation="gelu",
    table={"stem/projection/kernel": ("to_patch_embedding.0.0.weight", names.CONV)}
    | {"stage_{i}_merging/projection/kernel": ("to_patch_embedding.{i}.0.weight", names.MERGING)}
    | names.batch_norm("block_{i}_depthwise_norm", "token_mix.{i}.0.conv_merge.BN.")
    | {
        "block_{i}_depthwise_conv/kernel": (
            "token_mix.{i}.0.conv_merge.Conv.weight",
            names.DEPTHWISE,
        )
    }
    | names.batch_norm("block_{i}_axial_norm", "token_mix.{i}.1.BN.")
    | names.layer(
        "block_{i}_axial_projection/width_projection", "token_mix.{i}.1.proj_h.", names.POINTWISE
    )
    | names.layer(
        "block_{i}_axial_projection/height_projection", "token_mix.{i}.1.proh_w.", names.POINTWISE
    )
    | {"block_{i}_axial_projection/fuse/kernel": ("token_mix.{i}.1.fuse.weight", names.POINTWISE)}
    | names.norm("block_{i}_channel_norm", "channel_mix.{i}.1.")
    | names.layer("block_{i}_channel_mixing/fc1", "channel_mix.{i}.2.net.0.")
    | names.layer("block_{i}_channel_mixing/fc2", "channel_mix.{i}.2.net.3.")
    | names.batch_norm("pre_head_batch_norm", "batch_norm.")
    | names.layer("head", "mlp_head.0."),
    ignored=re.compile(r".*\.num_batches_tracked"),
    preprocessing=BY_IMAGENET,
)

FAMILY = Family("smlpnet", BY_IMAGENET, (_SPACH,))


@FAMILY.builder
def SMLPNet(
    include_top: bool = True,
    weights: str | os.PathLike | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    include_preprocessing: bool = True,
    name: str = "smlpnet",
    *,
    hidden_dim: int,
    depths: Sequence[int],
    patch_size: int = 4,
    mlp_ratio: int = 3,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    fusion: str = "concat",
    preprocessing: Preprocessing | None = None,
) -> MixerModel:
    """An sMLPNet: a pyramid whose tokens are mixed along rows and columns only.

    A functional model of named layers: `stem`, then per block, counted from 0 over all stages,
    `block_0_depthwise_norm`, `block_0_depthwise_gelu`, `block_0_depthwise_conv`,
    `block_0_axial_norm`, `block_0_axial_gelu`, `block_0_axial_projection`, `block_0_axial_add`,
    `block_0_channel_norm`, `block_0_channel_mixing`, `block_0_channel_add`; `stage_1_merging`
    before the second stage, and so on; then `pre_head_batch_norm`, `avg_pool`, `head`.
    The projections have weights for every row and column, so the image size is fixed.

    Args:
        {first_arguments}
        weights: `None` (random); for a variant, the name of published weights, such as
            `"imagenet"` (see `keras_mixers.list_weights()`; they are `.pth` files, for which
            PyTorch must be installed); or the path of a file of the same model, but for the head,
            the image size and the channels: Keras' `.weights.h5` or `.keras`, or the official
            code's names in `.safetensors`, `.npz` or `.pth`, of whose sets `"model"` is taken
            (another one by `keras_mixers.weights.load(model, path, entry="model_ema")`). Weights of
            another image size are resampled along the axes that they project; a first layer of 3
            colors is adapted to other channels (`keras_mixers.weights.channels`).
        input_shape: `(height, width, channels)`, sides in pixels and multiples of `patch_size`
            times 2 for every stage after the first (32 for the variants). Defaults to
            `(224, 224, 3)`, also without the top.
        hidden_dim: Channels of the first stage; each further stage has twice as many.
        depths: Number of blocks of each stage.
        patch_size: Side of a patch in pixels. Defaults to 4.
        mlp_ratio: Hidden units of channel mixing per channel (the paper's alpha). Defaults to 3.
        dropout_rate: After each dense layer of channel mixing. Defaults to 0 (official code).
        drop_path_rate: Stochastic depth at the last block, rising linearly from 0 at the first.
            Defaults to 0; the official code trains T, S, B with 0, 0.2, 0.3.
        fusion: Of the axial projection's branches, see `keras_mixers.layers.AxialProjection`.
            Defaults to the paper's `"concat"`.
        {last_arguments}

    Input shape: `(batch, height, width, channels)`, pixels of 0 to 255.
    Output shape: `(batch, classes)`; without the top a feature map of the last stage or a vector
        of its channels, `hidden_dim * 2 ** (len(depths) - 1)`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is out of range, or the stages do not divide the image.

    Paper: https://arxiv.org/abs/2109.05422
    """
    source = weight_files.describe(weights, namings=FAMILY.namings)
    _check_depths(depths)
    checks.positive_int("mlp_ratio", mlp_ratio)
    model = assembly.Assembly(
        FAMILY, input_tensor, input_shape, include_preprocessing, preprocessing, source
    )
    images = model.images
    _check_sides(images.shape, checks.positive_int("patch_size", patch_size), len(depths))
    x = PatchEmbedding(hidden_dim, patch_size, use_bias=False, name="stem", **_INITIALIZERS)(images)
    x = model.stem(x, patch_size)
    first_blocks = [sum(depths[:stage]) for stage in range(1, len(depths))]
    for i, rate in enumerate(assembly.drop_path_rates(drop_path_rate, sum(depths))):
        if i in first_blocks:
            stage = first_blocks.index(i) + 1
            model.stage(patch_size * 2**stage)
            x = PatchMerging(name=f"stage_{stage}_merging", **_INITIALIZERS)(x)
        x = _block(x, fusion, mlp_ratio, dropout_rate, rate, name=f"block_{i}")
        x = model.block(x, f"block_{i}")
    x = model.final_norm(_batch_norm("pre_head_batch_norm")(x))
    outputs = assembly.top(
        x, include_top, pooling, classes, classifier_activation, *_INITIALIZERS.values()
    )
    return model.finish(outputs, include_top, name, weights)


def _block(x, fusion, mlp_ratio, dropout_rate, drop_path_rate, name):
    y = _batch_norm_gelu(x, f"{name}_depthwise")
    y = keras.layers.DepthwiseConv2D(
        3,
        padding="same",
        data_format="channels_last",
        use_bias=False,
        depthwise_initializer=fan_in_uniform(3 * 3),
        name=f"{name}_depthwise_conv",
    )(y)
    y = _batch_norm_gelu(y, f"{name}_axial")
    y = AxialProjection(fusion, name=f"{name}_axial_projection", **_INITIALIZERS)(y)
    x = assembly.residual_sum(x, y, drop_path_rate, f"{name}_axial")
    y = LayerNormalization(epsilon=_EPSILON, name=f"{name}_channel_norm")(x)
    y = ChannelMixing(
        mlp_ratio * x.shape[-1],
        dropout_rate=dropout_rate,
        name=f"{name}_channel_mixing",
        **_INITIALIZERS,
    )(y)
    return assembly.residual_sum(x, y, drop_path_rate, f"{name}_channel")


@FAMILY.from_shapes
def _arguments(shapes):
    patch_size, channels, hidden_dim = shapes.stem()
    shapes.of("block_0_channel_norm/gamma", hidden_dim)
    blocks = range(shapes.count("block_{}_channel_norm/gamma"))
    dims = [shapes.of(f"block_{i}_channel_norm/gamma", None)[0] for i in blocks]
    axes = [f"block_0_axial_projection/{axis}_projection/bias" for axis in ("height", "width")]
    grid = [shapes.of(axis, None)[0] for axis in axes]
    _, hidden_units = shapes.of("block_0_channel_mixing/fc1/kernel", hidden_dim, None)
    mlp_ratio = hidden_units // hidden_dim
    for i, dim in enumerate(dims):
        stage = sorted(set(dims)).index(dim)
        height, width = (side >> stage for side in grid)
        shapes.of(f"block_{i}_channel_norm/gamma", hidden_dim << stage)
        shapes.of(f"block_{i}_channel_mixing/fc1/kernel", dim, mlp_ratio * dim)
        shapes.of(f"block_{i}_axial_projection/height_projection/kernel", height, height)
        shapes.of(f"block_{i}_axial_projection/width_projection/kernel", width, width)
    return dict(
        input_shape=(*(patch_size * side for side in grid), channels),
        patch_size=patch_size,
        hidden_dim=hidden_dim,
        depths=[dims.count(dim) for dim in sorted(set(dims))],
        mlp_ratio=mlp_ratio,
        **shapes.head(dims[-1]),
    )


def _batch_norm_gelu(x, name):
    x = _batch_norm(f"{name}_norm")(x)
    return Activation("gelu", name=f"{name}_gelu")(x)


def _batch_norm(name):
    return SyncBatchNormalization(momentum=_MOMENTUM, epsilon=_EPSILON, name=name)


def _check_depths(depths):
    if not isinstance(depths, tuple | list) or not depths:
        raise ValueError(
            f"`depths` must be a tuple with one number for each stage. Received: depths={depths!r}"
        )
    for depth in depths:
        checks.positive_int("depths", depth)


def _check_sides(shape, patch_size, stages):
    divisor = patch_size * 2 ** (stages - 1)
    if any(side is not None and side % divisor for side in shape[1:3]):
        raise ValueError(
            f"`input_shape` must have sides that are multiples of {divisor}: `patch_size` = "
            f"{patch_size}, halved again before each of the {stages - 1} further stages. "
            f"Received: height={shape[1]}, width={shape[2]}"
        )


@FAMILY.variant(SMLPNet, name="smlpnet_t", hidden_dim=80, depths=(2, 8, 14, 2))
def SMLPNetT():
    """sMLPNet-T: 24.1 M parameters, 5.0 G multiply-adds, ImageNet top-1 81.9 % (paper)."""


@FAMILY.variant(SMLPNet, name="smlpnet_s", hidden_dim=96, depths=(2, 10, 24, 2))
def SMLPNetS():
    """sMLPNet-S: 48.6 M parameters, 10.3 G multiply-adds, ImageNet top-1 83.1 % (paper)."""


@FAMILY.variant(SMLPNet, name="smlpnet_b", hidden_dim=112, depths=(2, 10, 24, 2))
def SMLPNetB():
    """sMLPNet-B: 65.9 M parameters, 14.0 G multiply-adds, ImageNet top-1 83.4 % (paper)."""
