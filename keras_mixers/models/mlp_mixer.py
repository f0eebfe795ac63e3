"""MLP-Mixer: https://arxiv.org/abs/2105.01601."""

import math
import os
import re
from collections.abc import Callable
from typing import Any

from keras_mixers import weights as weight_files
from keras_mixers.layers import (
    ChannelMixing,
    LayerNormalization,
    PatchEmbedding,
    TokenMixing,
    checks,
)
from keras_mixers.models import assembly
from keras_mixers.models.family import Family
from keras_mixers.models.mixer_model import MixerModel
from keras_mixers.models.predictions import decode_predictions as decode_predictions
from keras_mixers.models.predictions import preprocess_input as preprocess_input
from keras_mixers.preprocessing import TO_MINUS_ONE_ONE, Preprocessing
from keras_mixers.weights import names

# Flax's default, with which the official weights were trained.
_EPSILON = 1e-6

# Google's names before Flax's module system of 2021, as big_vision still reads them.
_OLDER = (
    (r"embedding/(.*)", r"stem/\1"),
    (r"Mixer/encoder_norm/(.*)", r"pre_head_layer_norm/\1"),
    (r"Mixer/encoderblock_(\d+)/(LayerNorm_\d/.*)", r"MixerBlock_\1/\2"),
    (
        r"Mixer/encoderblock_(\d+)/(token|channel)_mixing_phase_0/(kernel|bias)1",
        r"MixerBlock_\1/\2_mixing/Dense_0/\3",
    ),
    (
        r"Mixer/encoderblock_(\d+)/(token|channel)_mixing_phase_0/(kernel|bias)2",
        r"MixerBlock_\1/\2_mixing/Dense_1/\3",
    ),
)

# https://github.com/google-research/vision_transformer, vit_jax/models_mixer.py; and big_vision.
_GOOGLE = names.Naming(
    title="Google's MLP-Mixer",
    mark="MixerBlock_0/token_mixing/Dense_0/kernel",
    activation="gelu_tanh",
    table=names.flax_layer("stem/projection", "stem/")
    | names.flax_norm("block_{i}_token_norm", "MixerBlock_{i}/LayerNorm_0/")
    | names.flax_layer("block_{i}_token_mixing/fc1", "MixerBlock_{i}/token_mixing/Dense_0/")
    | names.flax_layer("block_{i}_token_mixing/fc2", "MixerBlock_{i}/token_mixing/Dense_1/")
    | names.flax_norm("block_{i}_channel_norm", "MixerBlock_{i}/LayerNorm_1/")
    | names.flax_layer("block_{i}_channel_mixing/fc1", "MixerBlock_{i}/channel_mixing/Dense_0/")
    | names.flax_layer("block_{i}_channel_mixing/fc2", "MixerBlock_{i}/channel_mixing/Dense_1/")
    | names.flax_norm("pre_head_layer_norm", "pre_head_layer_norm/")
    | names.flax_layer("head", "head/"),
    older=_OLDER,
    squeezed=re.compile(r".*_mixing_phase_0/.*"),
    preprocessing=TO_MINUS_ONE_ONE,
    saved_as=".npz",
)

# https://github.com/huggingface/pytorch-image-models, timm/models/mlp_mixer.py.
_TIMM = names.Naming(
    title="timm's MLP-Mixer",
    mark="blocks.0.mlp_tokens.fc1.weight",
    activation="gelu",
    table=names.layer("stem/projection", "stem.proj.", kernel=names.CONV)
    | names.norm("block_{i}_token_norm", "blocks.{i}.norm1.")
    | names.layer("block_{i}_token_mixing/fc1", "blocks.{i}.mlp_tokens.fc1.")
    | names.layer("block_{i}_token_mixing/fc2", "blocks.{i}.mlp_tokens.fc2.")
    | names.norm("block_{i}_channel_norm", "blocks.{i}.norm2.")
    | names.layer("block_{i}_channel_mixing/fc1", "blocks.{i}.mlp_channels.fc1.")
    | names.layer("block_{i}_channel_mixing/fc2", "blocks.{i}.mlp_channels.fc2.")
    | names.norm("pre_head_layer_norm", "norm.")
    | names.layer("head", "head."),
    saved_as=".safetensors",
)

FAMILY = Family("mlp_mixer", TO_MINUS_ONE_ONE, (_GOOGLE, _TIMM))


@FAMILY.builder
def MLPMixer(
    include_top: bool = True,
    weights: str | os.PathLike | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    include_preprocessing: bool = True,
    name: str = "mlp_mixer",
    *,
    patch_size: int,
    hidden_dim: int,
    num_blocks: int,
    tokens_mlp_dim: int,
    channels_mlp_dim: int,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    activation: str | Callable | None = None,
    resize: str = "interpolate",
    preprocessing: Preprocessing | None = None,
) -> MixerModel:
    """An MLP-Mixer: perceptrons across the positions and across the channels, in turn.

    A functional model of named layers: `stem`, then per block, counted from 0,
    `block_0_token_norm`, `block_0_token_mixing`, `block_0_token_add`, `block_0_channel_norm`,
    `block_0_channel_mixing`, `block_0_channel_add`, then `pre_head_layer_norm`, `avg_pool`, `head`.
    Token mixing has weights for every position, so the image size is fixed.

    Args:
        {first_arguments}
        weights: `None` (random); for a variant, the name of published weights: `"imagenet"`, the
            best ImageNet-1k file, or another of `keras_mixers.list_weights()`, such as
            `"imagenet21k"`; or the path of a run folder, or of a file of the same model, but for
            the head, the image size and the channels: Keras' `.weights.h5` or `.keras`, Google's
            `.npz`, or timm's names in `.safetensors`, `.npz` or `.pth`. The model prepares its
            images as the weights expect. A first layer of 3 colors is adapted to other channels
            (`keras_mixers.weights.channels`).
        input_shape: `(height, width, channels)`, sides in pixels and multiples of `patch_size`.
            Defaults to `(224, 224, 3)`, also without the top.
        patch_size: Side of a patch in pixels (the paper's P).
        hidden_dim: Channels (the paper's C).
        num_blocks: Number of mixer blocks.
        tokens_mlp_dim: Hidden units of token mixing (the paper's D_S).
        channels_mlp_dim: Hidden units of channel mixing (the paper's D_C).
        dropout_rate: After each dense layer of both perceptrons. Defaults to 0, as in the paper's
            ImageNet runs (Table 4).
        drop_path_rate: Stochastic depth at the last block, rising linearly from 0 at the first.
            Defaults to 0; the paper trains on ImageNet with 0.1 (Table 4).
        activation: `"gelu_tanh"` (as the official Flax code computes it) or `"gelu"` (exact, as
            timm has it). Defaults to that of the weights' source, and to `"gelu_tanh"` without
            weights.
        resize: How `weights` of another image size are carried to this one: `"interpolate"`
            (default; any size) or `"block_diagonal"` (Appendix C; K times the height and L times
            the width, which makes `tokens_mlp_dim` K L times as large).
        {last_arguments}

    Input shape: `(batch, height, width, channels)`, pixels of 0 to 255.
    Output shape: `(batch, classes)`; without the top
        `(batch, height / patch_size, width / patch_size, hidden_dim)` or `(batch, hidden_dim)`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is out of range, or the patch does not divide the image.

    Paper: https://arxiv.org/abs/2105.01601
    """
    checks.positive_int("num_blocks", num_blocks)
    checks.one_of("resize", resize, weight_files.RESIZE)
    source = weight_files.describe(weights, namings=FAMILY.namings)
    activation = weight_files.activation(activation, source, "gelu_tanh")
    model = assembly.Assembly(
        FAMILY, input_tensor, input_shape, include_preprocessing, preprocessing, source
    )
    x = model.stem(PatchEmbedding(hidden_dim, patch_size, name="stem")(model.images), patch_size)
    if resize == "block_diagonal":
        tokens_mlp_dim *= weight_files.tiles(source, x.shape[1:3])
    for i, rate in enumerate(assembly.drop_path_rates(drop_path_rate, num_blocks)):
        name_of_block = f"block_{i}"
        x = _block(
            x, tokens_mlp_dim, channels_mlp_dim, activation, dropout_rate, rate, name_of_block
        )
        x = model.block(x, name_of_block)
    x = model.final_norm(_norm("pre_head_layer_norm")(x))
    outputs = assembly.top(
        x, include_top, pooling, classes, classifier_activation, "zeros", "zeros"
    )
    return model.finish(outputs, include_top, name, weights, resize)


def _block(x, tokens_mlp_dim, channels_mlp_dim, activation, dropout_rate, drop_path_rate, name):
    y = _norm(f"{name}_token_norm")(x)
    y = TokenMixing(tokens_mlp_dim, activation, dropout_rate, name=f"{name}_token_mixing")(y)
    x = assembly.residual_sum(x, y, drop_path_rate, f"{name}_token")
    y = _norm(f"{name}_channel_norm")(x)
    y = ChannelMixing(channels_mlp_dim, activation, dropout_rate, name=f"{name}_channel_mixing")(y)
    return assembly.residual_sum(x, y, drop_path_rate, f"{name}_channel")


@FAMILY.from_shapes
def _arguments(shapes):
    patch_size, channels, hidden_dim = shapes.stem()
    tokens, tokens_mlp_dim = shapes.of("block_0_token_mixing/fc1/kernel", None, None)
    _, channels_mlp_dim = shapes.of("block_0_channel_mixing/fc1/kernel", hidden_dim, None)
    num_blocks = shapes.count("block_{}_token_mixing/fc1/kernel")
    for i in range(num_blocks):
        shapes.of(f"block_{i}_token_mixing/fc1/kernel", tokens, tokens_mlp_dim)
        shapes.of(f"block_{i}_channel_mixing/fc1/kernel", hidden_dim, channels_mlp_dim)
    side = patch_size * math.isqrt(tokens)
    return dict(
        input_shape=(side, side, channels),
        patch_size=patch_size,
        hidden_dim=hidden_dim,
        num_blocks=num_blocks,
        tokens_mlp_dim=tokens_mlp_dim,
        channels_mlp_dim=channels_mlp_dim,
        activation=shapes.activation,
        **shapes.head(hidden_dim),
    )


def _norm(name):
    return LayerNormalization(epsilon=_EPSILON, name=name)


_SMALL = dict(hidden_dim=512, num_blocks=8, tokens_mlp_dim=256, channels_mlp_dim=2048)
_BASE = dict(hidden_dim=768, num_blocks=12, tokens_mlp_dim=384, channels_mlp_dim=3072)
_LARGE = dict(hidden_dim=1024, num_blocks=24, tokens_mlp_dim=512, channels_mlp_dim=4096)
_HUGE = dict(hidden_dim=1280, num_blocks=32, tokens_mlp_dim=640, channels_mlp_dim=5120)


@FAMILY.variant(MLPMixer, name="mlp_mixer_s32", patch_size=32, **_SMALL)
def MLPMixerS32():
    """MLP-Mixer-S/32: 19.1 M parameters, 1.0 G multiply-adds.

    ImageNet top-1 after pre-training on JFT-300M: 68.70 % (paper, Table 3).
    """


@FAMILY.variant(MLPMixer, name="mlp_mixer_s16", patch_size=16, **_SMALL)
def MLPMixerS16():
    """MLP-Mixer-S/16: 18.5 M parameters, 3.8 G multiply-adds.

    ImageNet top-1 after pre-training on JFT-300M: 73.83 % (paper, Table 3).
    """


@FAMILY.variant(MLPMixer, name="mlp_mixer_s4", patch_size=4, **_SMALL)
def MLPMixerS4():
    """MLP-Mixer-S/4: 30.2 M parameters, 59.3 G multiply-adds; the widths of S/16, patches of 4.

    Not in the paper's table, and no accuracy is published. Meant for small images, with sides
    such as 32 or 64: at the default 224 it has 3,136 tokens.
    """


@FAMILY.variant(MLPMixer, name="mlp_mixer_b32", patch_size=32, **_BASE)
def MLPMixerB32():
    """MLP-Mixer-B/32: 60.3 M parameters, 3.2 G multiply-adds.

    ImageNet top-1 after pre-training on JFT-300M: 75.53 % (paper, Table 3).
    """


@FAMILY.variant(MLPMixer, name="mlp_mixer_b16", patch_size=16, **_BASE)
def MLPMixerB16():
    """MLP-Mixer-B/16: 59.9 M parameters, 12.6 G multiply-adds.

    ImageNet top-1: 76.44 % from scratch, 80.64 % after ImageNet-21k (paper, Table 3).
    """


@FAMILY.variant(MLPMixer, name="mlp_mixer_l32", patch_size=32, **_LARGE)
def MLPMixerL32():
    """MLP-Mixer-L/32: 206.9 M parameters, 11.3 G multiply-adds.

    ImageNet top-1 after pre-training on JFT-300M: 80.67 % (paper, Table 3).
    """


@FAMILY.variant(MLPMixer, name="mlp_mixer_l16", patch_size=16, **_LARGE)
def MLPMixerL16():
    """MLP-Mixer-L/16: 208.2 M parameters, 44.5 G multiply-adds.

    ImageNet top-1: 71.76 % from scratch, 82.89 % after ImageNet-21k (paper, Table 3).
    """


@FAMILY.variant(MLPMixer, name="mlp_mixer_h14", patch_size=14, **_HUGE)
def MLPMixerH14():
    """MLP-Mixer-H/14: 432.4 M parameters, 121.0 G multiply-adds.

    ImageNet top-1 after pre-training on JFT-300M: 86.32 % (paper, Table 3).
    """
