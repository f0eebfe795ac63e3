"""MLP-Mixer: https://arxiv.org/abs/2105.01601."""

from keras_mixers import weights as weight_files
from keras_mixers.layers import (
    ChannelMixing,
    LayerNormalization,
    PatchEmbedding,
    TokenMixing,
    checks,
)
from keras_mixers.models import assembly
from keras_mixers.models.assembly import variant_of
from keras_mixers.models.predictions import decode_predictions as decode_predictions
from keras_mixers.preprocessing import scaling

# Flax's default, with which the official weights were trained.
_EPSILON = 1e-6


def MLPMixer(
    include_top=True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name="mlp_mixer",
    *,
    patch_size,
    hidden_dim,
    num_blocks,
    tokens_mlp_dim,
    channels_mlp_dim,
    dropout_rate=0.0,
    drop_path_rate=0.0,
    activation=None,
    resize="interpolate",
):
    """An MLP-Mixer: perceptrons across the positions and across the channels, in turn.

    A functional model of named layers: `stem`, then per block, counted from 0,
    `block_0_token_norm`, `block_0_token_mixing`, `block_0_token_add`, `block_0_channel_norm`,
    `block_0_channel_mixing`, `block_0_channel_add`, then `pre_head_layer_norm`, `avg_pool`, `head`.
    Token mixing has weights for every position, so the picture size is fixed.

    Args:
        include_top: Whether to end in pooling and the classifier. Without it the output is the
            last feature map, or a vector with `pooling`.
        weights: `None` (random); for a variant, the name of published weights, such as
            `"imagenet1k"` (see `keras_mixers.weights.PUBLISHED`); or the path of a file of the
            same model, but for the head and the picture size: Keras' `.weights.h5` or `.keras`,
            Google's `.npz`, or timm's names in `.safetensors` or `.npz`.
        input_tensor: A Keras tensor to build the model on, instead of a new input.
        input_shape: `(height, width, channels)`, sides in pixels and multiples of `patch_size`.
            Defaults to `(224, 224, 3)`, also without the top.
        pooling: Without the top: `None` (feature map), `"avg"` or `"max"`.
        classes: Number of classes.
        classifier_activation: `"softmax"`, or `None` for logits.
        name: Of the model.
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
        resize: How `weights` of another picture size are carried to this one: `"interpolate"`
            (default; any size) or `"block_diagonal"` (Appendix C; K times the height and L times
            the width, which makes `tokens_mlp_dim` K L times as large).

    Input shape: `(batch, height, width, channels)`, pixels scaled by
        `keras_mixers.mlp_mixer.preprocess_input`.
    Output shape: `(batch, classes)`; without the top
        `(batch, height / patch_size, width / patch_size, hidden_dim)` or `(batch, hidden_dim)`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is out of range, or the patch does not divide the picture.

    Paper: https://arxiv.org/abs/2105.01601
    """
    checks.positive_int("num_blocks", num_blocks)
    checks.one_of("resize", resize, weight_files.RESIZE)
    source = weight_files.describe(weights)
    activation = weight_files.activation(activation, source)
    inputs = assembly.image_input(input_shape, input_tensor)
    x = PatchEmbedding(hidden_dim, patch_size, name="stem")(inputs)
    if resize == "block_diagonal":
        tokens_mlp_dim *= weight_files.tiles(source, x.shape[1:3])
    for i, rate in enumerate(assembly.drop_path_rates(drop_path_rate, num_blocks)):
        x = _block(
            x, tokens_mlp_dim, channels_mlp_dim, activation, dropout_rate, rate, name=f"block_{i}"
        )
    x = _norm("pre_head_layer_norm")(x)
    outputs = assembly.top(
        x, include_top, pooling, classes, classifier_activation, "zeros", "zeros"
    )
    return assembly.finish(inputs, outputs, input_tensor, name, weights, resize)


def _block(x, tokens_mlp_dim, channels_mlp_dim, activation, dropout_rate, drop_path_rate, name):
    y = _norm(f"{name}_token_norm")(x)
    y = TokenMixing(tokens_mlp_dim, activation, dropout_rate, name=f"{name}_token_mixing")(y)
    x = assembly.residual_sum(x, y, drop_path_rate, f"{name}_token")
    y = _norm(f"{name}_channel_norm")(x)
    y = ChannelMixing(channels_mlp_dim, activation, dropout_rate, name=f"{name}_channel_mixing")(y)
    return assembly.residual_sum(x, y, drop_path_rate, f"{name}_channel")


def _norm(name):
    return LayerNormalization(epsilon=_EPSILON, name=name)


def preprocess_input(images):
    """Scales pixels from [0, 255] to the [-1, 1] that MLP-Mixer's official weights expect.

    Args:
        images: NumPy array or tensor of Keras' backend, of shape `(..., channels)`, any numeric
            type.

    Returns:
        float32, the same shape and the same kind (array or tensor); the input is not changed.
    """
    return scaling.to_minus_one_one(images)


_SMALL = dict(hidden_dim=512, num_blocks=8, tokens_mlp_dim=256, channels_mlp_dim=2048)
_BASE = dict(hidden_dim=768, num_blocks=12, tokens_mlp_dim=384, channels_mlp_dim=3072)
_LARGE = dict(hidden_dim=1024, num_blocks=24, tokens_mlp_dim=512, channels_mlp_dim=4096)
_HUGE = dict(hidden_dim=1280, num_blocks=32, tokens_mlp_dim=640, channels_mlp_dim=5120)


@variant_of(MLPMixer, name="mlp_mixer_s32", patch_size=32, **_SMALL)
def MLPMixerS32():
    """MLP-Mixer-S/32: 19.1 M parameters, 1.0 G multiply-adds.

    ImageNet top-1 after pre-training on JFT-300M: 68.70 % (paper, Table 3).
    """


@variant_of(MLPMixer, name="mlp_mixer_s16", patch_size=16, **_SMALL)
def MLPMixerS16():
    """MLP-Mixer-S/16: 18.5 M parameters, 3.8 G multiply-adds.

    ImageNet top-1 after pre-training on JFT-300M: 73.83 % (paper, Table 3).
    """


@variant_of(MLPMixer, name="mlp_mixer_s4", patch_size=4, **_SMALL)
def MLPMixerS4():
    """MLP-Mixer-S/4: 30.2 M parameters, 59.3 G multiply-adds; the widths of S/16, patches of 4.

    Not in the paper's table, and no accuracy is published. Meant for small pictures, with sides
    such as 32 or 64: at the default 224 it has 3,136 tokens.
    """


@variant_of(MLPMixer, name="mlp_mixer_b32", patch_size=32, **_BASE)
def MLPMixerB32():
    """MLP-Mixer-B/32: 60.3 M parameters, 3.2 G multiply-adds.

    ImageNet top-1 after pre-training on JFT-300M: 75.53 % (paper, Table 3).
    """


@variant_of(MLPMixer, name="mlp_mixer_b16", patch_size=16, **_BASE)
def MLPMixerB16():
    """MLP-Mixer-B/16: 59.9 M parameters, 12.6 G multiply-adds.

    ImageNet top-1: 76.44 % from scratch, 80.64 % after ImageNet-21k (paper, Table 3).
    """


@variant_of(MLPMixer, name="mlp_mixer_l32", patch_size=32, **_LARGE)
def MLPMixerL32():
    """MLP-Mixer-L/32: 206.9 M parameters, 11.3 G multiply-adds.

    ImageNet top-1 after pre-training on JFT-300M: 80.67 % (paper, Table 3).
    """


@variant_of(MLPMixer, name="mlp_mixer_l16", patch_size=16, **_LARGE)
def MLPMixerL16():
    """MLP-Mixer-L/16: 208.2 M parameters, 44.5 G multiply-adds.

    ImageNet top-1: 71.76 % from scratch, 82.89 % after ImageNet-21k (paper, Table 3).
    """


@variant_of(MLPMixer, name="mlp_mixer_h14", patch_size=14, **_HUGE)
def MLPMixerH14():
    """MLP-Mixer-H/14: 432.4 M parameters, 121.0 G multiply-adds.

    ImageNet top-1 after pre-training on JFT-300M: 86.32 % (paper, Table 3).
    """
