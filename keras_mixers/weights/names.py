"""What other codebases call the weights of these families, and how they lay them out.

A table has the path of a weight in our model, with `{i}` for the number of a block or a stage, and
beside it their name and layout.
"""

import re
from collections.abc import Callable
from typing import NamedTuple


class Layout(NamedTuple):
    """How an array lies in their file: functions of an array, there and back."""

    to_keras: Callable
    from_keras: Callable


def _transposed(to_keras, from_keras):
    return Layout(lambda a: a.transpose(to_keras), lambda a: a.transpose(from_keras))


SAME = Layout(lambda a: a, lambda a: a)
# PyTorch has the outputs first: (out, in), (out, in, height, width).
_LINEAR = _transposed((1, 0), (1, 0))
_CONV = _transposed((2, 3, 1, 0), (3, 2, 0, 1))
_DEPTHWISE = _transposed((2, 3, 0, 1), (2, 3, 0, 1))
_POINTWISE = Layout(lambda a: a[:, :, 0, 0].T, lambda a: a.T[:, :, None, None])
# A convolution of 2 x 2 and stride 2, for our projection of 2 x 2 concatenated neighbours.
_MERGING = Layout(
    lambda a: a.transpose(2, 3, 1, 0).reshape(-1, a.shape[0]),
    lambda a: a.reshape(2, 2, -1, a.shape[-1]).transpose(3, 2, 0, 1),
)


class Naming(NamedTuple):
    """One codebase's names for the weights of one family.

    Attributes:
        title: What messages call it.
        mark: A name that tells its files from others.
        activation: Of its perceptrons.
        table: `{our path: (their name, layout)}`.
        ignored: Matches their names of what is no weight.
    """

    title: str
    mark: str
    activation: str
    table: dict
    ignored: re.Pattern = re.compile("(?!)")

    def of(self, path):
        """Returns their name of our weight at `path`, and its layout; None if they have none."""
        number = re.search(r"(?<=^block_)\d+|(?<=^stage_)\d+", path)
        template = path[: number.start()] + "{i}" + path[number.end() :] if number else path
        if template not in self.table:
            return None
        name, layout = self.table[template]
        return name.format(i=number and number.group()), layout


def _layer(ours, theirs, kernel=_LINEAR, weight="weight"):
    return {
        f"{ours}/kernel": (f"{theirs}{weight}", kernel),
        f"{ours}/bias": (f"{theirs}bias", SAME),
    }


def _norm(ours, theirs, scale="weight"):
    return {f"{ours}/gamma": (theirs + scale, SAME), f"{ours}/beta": (f"{theirs}bias", SAME)}


def _batch_norm(ours, theirs):
    return _norm(ours, theirs) | {
        f"{ours}/moving_mean": (f"{theirs}running_mean", SAME),
        f"{ours}/moving_variance": (f"{theirs}running_var", SAME),
    }


def _flax_layer(ours, theirs):
    return _layer(ours, theirs, kernel=SAME, weight="kernel")


def _flax_norm(ours, theirs):
    return _norm(ours, theirs, scale="scale")


# https://github.com/google-research/vision_transformer, vit_jax/models_mixer.py; and big_vision.
GOOGLE_MIXER = Naming(
    title="Google's MLP-Mixer",
    mark="MixerBlock_0/token_mixing/Dense_0/kernel",
    activation="gelu_tanh",
    table=_flax_layer("stem/projection", "stem/")
    | _flax_norm("block_{i}_token_norm", "MixerBlock_{i}/LayerNorm_0/")
    | _flax_layer("block_{i}_token_mixing/fc1", "MixerBlock_{i}/token_mixing/Dense_0/")
    | _flax_layer("block_{i}_token_mixing/fc2", "MixerBlock_{i}/token_mixing/Dense_1/")
    | _flax_norm("block_{i}_channel_norm", "MixerBlock_{i}/LayerNorm_1/")
    | _flax_layer("block_{i}_channel_mixing/fc1", "MixerBlock_{i}/channel_mixing/Dense_0/")
    | _flax_layer("block_{i}_channel_mixing/fc2", "MixerBlock_{i}/channel_mixing/Dense_1/")
    | _flax_norm("pre_head_layer_norm", "pre_head_layer_norm/")
    | _flax_layer("head", "head/"),
)

# https://github.com/huggingface/pytorch-image-models, timm/models/mlp_mixer.py.
TIMM_MIXER = Naming(
    title="timm's MLP-Mixer",
    mark="blocks.0.mlp_tokens.fc1.weight",
    activation="gelu",
    table=_layer("stem/projection", "stem.proj.", kernel=_CONV)
    | _norm("block_{i}_token_norm", "blocks.{i}.norm1.")
    | _layer("block_{i}_token_mixing/fc1", "blocks.{i}.mlp_tokens.fc1.")
    | _layer("block_{i}_token_mixing/fc2", "blocks.{i}.mlp_tokens.fc2.")
    | _norm("block_{i}_channel_norm", "blocks.{i}.norm2.")
    | _layer("block_{i}_channel_mixing/fc1", "blocks.{i}.mlp_channels.fc1.")
    | _layer("block_{i}_channel_mixing/fc2", "blocks.{i}.mlp_channels.fc2.")
    | _norm("pre_head_layer_norm", "norm.")
    | _layer("head", "head."),
)

# https://github.com/microsoft/SPACH, models/smlp.py: proj_h runs along the width, and proh_w (their
# spelling) along the height.
SPACH_SMLPNET = Naming(
    title="SPACH's sMLPNet",
    mark="token_mix.0.1.proj_h.weight",
    activation="gelu",
    table={"stem/projection/kernel": ("to_patch_embedding.0.0.weight", _CONV)}
    | {"stage_{i}_merging/projection/kernel": ("to_patch_embedding.{i}.0.weight", _MERGING)}
    | _batch_norm("block_{i}_depthwise_norm", "token_mix.{i}.0.conv_merge.BN.")
    | {"block_{i}_depthwise_conv/kernel": ("token_mix.{i}.0.conv_merge.Conv.weight", _DEPTHWISE)}
    | _batch_norm("block_{i}_axial_norm", "token_mix.{i}.1.BN.")
    | _layer("block_{i}_axial_projection/width_projection", "token_mix.{i}.1.proj_h.", _POINTWISE)
    | _layer("block_{i}_axial_projection/height_projection", "token_mix.{i}.1.proh_w.", _POINTWISE)
    | {"block_{i}_axial_projection/fuse/kernel": ("token_mix.{i}.1.fuse.weight", _POINTWISE)}
    | _norm("block_{i}_channel_norm", "channel_mix.{i}.1.")
    | _layer("block_{i}_channel_mixing/fc1", "channel_mix.{i}.2.net.0.")
    | _layer("block_{i}_channel_mixing/fc2", "channel_mix.{i}.2.net.3.")
    | _batch_norm("pre_head_batch_norm", "batch_norm.")
    | _layer("head", "mlp_head.0."),
    ignored=re.compile(r".*\.num_batches_tracked"),
)

NAMINGS = (GOOGLE_MIXER, TIMM_MIXER, SPACH_SMLPNET)

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
# What training wraps the weights' names in. Beside such weights lies the optimizer's state.
_PREFIXES = ("", "params/", "opt/target/params/", "opt/target/", "target/", "module.", "model.")
_TRAINING = re.compile(r"(opt|opt_state|optimizer|state|step|epoch)(/.*)?")


def current_name(name):
    """Returns Google's name of today for an older one; any other name as it is."""
    for pattern, replacement in _OLDER:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def is_older_dense(name):
    """Whether this is one of Google's older names of a dense layer's weights."""
    return "_mixing_phase_0/" in name


def recognise(names):
    """Returns the naming of a file and pairs of their name today and the one in the file, or None.

    Names of the optimizer's state, and what the naming ignores, are left out.
    """
    for prefix in _PREFIXES:
        named = [n for n in names if n.startswith(prefix)]
        if not prefix:
            named = [n for n in named if not _TRAINING.fullmatch(n)]
        within = [(current_name(n.removeprefix(prefix)), n) for n in named]
        for naming in NAMINGS:
            if any(today == naming.mark for today, _ in within):
                rest = [n for n in names if not n.startswith(prefix) and not _TRAINING.fullmatch(n)]
                pairs = within + [(name, name) for name in rest]
                return naming, [pair for pair in pairs if not naming.ignored.fullmatch(pair[0])]
    return None
