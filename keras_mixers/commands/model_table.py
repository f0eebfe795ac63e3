"""Prints the tables of models and of published weights, and how cost grows with the picture.

Parameters and multiply-adds (MACs: of convolutions and matrix products, one picture) are counted
from the built models. The accuracies are the papers', not measured here.

Examples:
  keras-mixers model-table
  keras-mixers model-table --growth
  keras-mixers model-table --weights
"""

import argparse
import math
import re

from keras_mixers.commands import cli

_MIXER = "[Table 3](https://arxiv.org/abs/2105.01601)"
_S2 = "[as cited by PosMLP](https://github.com/Zhicaiwww/PosMLP)"
_SMLP = "[paper](https://arxiv.org/abs/2109.05422)"

# ImageNet top-1 in %, and where it is published. A variant without a published figure has none.
PUBLISHED_TOP1 = {
    "MLPMixerS32": ("68.70", f"JFT-300M, {_MIXER}"),
    "MLPMixerS16": ("73.83", f"JFT-300M, {_MIXER}"),
    "MLPMixerS4": ("", "not in the paper"),
    "MLPMixerB32": ("75.53", f"JFT-300M, {_MIXER}"),
    "MLPMixerB16": ("76.44", f"ImageNet-1k, {_MIXER}"),
    "MLPMixerL32": ("80.67", f"JFT-300M, {_MIXER}"),
    "MLPMixerL16": ("71.76", f"ImageNet-1k, {_MIXER}"),
    "MLPMixerH14": ("86.32", f"JFT-300M, {_MIXER}"),
    "S2MLPWide": ("", "no figure that we could check"),
    "S2MLPDeep": ("80.7", f"ImageNet-1k, {_S2}"),
    "SMLPNetT": ("81.9", f"ImageNet-1k, {_SMLP}"),
    "SMLPNetS": ("83.1", f"ImageNet-1k, {_SMLP}"),
    "SMLPNetB": ("83.4", f"ImageNet-1k, {_SMLP}"),
}


def trainable_parameters(model):
    """Returns the number of trainable parameters of `model`."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def multiply_adds(model, layers=""):
    """Counts the multiply-adds of `model` for one picture, from the operations that it runs.

    Args:
        model: A `keras.Model` of fixed picture size, on the TensorFlow backend.
        layers: Regular expression: count only within the layers whose name it matches.
    """
    import tensorflow as tf

    picture = tf.TensorSpec((1, *model.input_shape[1:]), "float32")
    traced = tf.function(lambda x: model(x, training=False)).get_concrete_function(picture)
    operations = [op for op in traced.graph.get_operations() if re.search(layers, op.name)]
    return sum(_COUNTERS[op.type](op) for op in operations if op.type in _COUNTERS)


def _matmul(op):
    left = op.inputs[0].shape
    transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
    return math.prod(op.outputs[0].shape) * left[-2 if transposed else -1]


def _convolution(op):
    rows, columns, channels, _ = op.inputs[1].shape
    return math.prod(op.outputs[0].shape) * rows * columns * channels


def _depthwise(op):
    rows, columns, _, _ = op.inputs[1].shape
    return math.prod(op.outputs[0].shape) * rows * columns


_COUNTERS = {
    "MatMul": _matmul,
    "BatchMatMulV2": _matmul,
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
}


def table():
    """Returns the table of all variants at 224 x 224 with 1000 classes, as Markdown."""
    import keras
    from tabulate import tabulate

    import keras_mixers

    rows = []
    for variants in keras_mixers.VARIANTS.values():
        for variant in variants:
            model = variant()
            top1, source = PUBLISHED_TOP1[variant.__name__]
            macs = f"{multiply_adds(model) / 1e9:.2f} G"
            rows.append(
                (f"`{variant.__name__}`", f"{trainable_parameters(model):,}", macs, top1, source)
            )
            del model
            keras.backend.clear_session()
    headers = ("model", "parameters", "MACs", "top-1, %", "trained on, source")
    alignment = ("left", "right", "right", "right", "left")
    return tabulate(rows, headers, "github", disable_numparse=True, colalign=alignment)


def weights():
    """Returns the published weights that `weights=` knows by name, as Markdown."""
    from tabulate import tabulate

    from keras_mixers import weights as weight_files

    rows = [
        (
            f"`{variant}`",
            f'`"{name}"`',
            f"{about.classes:,}",
            about.trained,
            "" if about.top_1 is None else str(about.top_1),
            f"`{about.preprocessing.removeprefix('keras_mixers.')}`",
            f"[file]({about.url}), [source]({about.source.split(',')[0]})",
        )
        for variant, published in weight_files.PUBLISHED.items()
        for name, about in published.items()
    ]
    headers = ("model", "name", "classes", "trained on", "top-1, %", "pictures", "")
    alignment = ("left", "left", "right", "left", "right", "left", "left")
    return tabulate(rows, headers, "github", disable_numparse=True, colalign=alignment)


def growth():
    """Returns how the cost grows with the picture's side, beside the papers' formulas."""
    from tabulate import tabulate

    rows = [_mixer_growth(side) for side in (112, 224, 336, 448)]
    rows += [_s2_mlp_growth(side) for side in (112, 224, 336, 448)]
    rows += [_smlpnet_growth(side) for side in (128, 224, 320, 448)]  # multiples of 32 only
    headers = ("model", "side", "MACs", "of its mixing part", "formula")
    return tabulate(rows, headers, "github", colalign=("left", *["right"] * 4))


def _mixer_growth(side):
    import keras_mixers

    # The formula takes alpha, hidden units per token, as fixed: 384 for 196 tokens at side 224.
    tokens, alpha = (side // 16) ** 2, 384 / 196
    model = keras_mixers.MLPMixerB16(
        input_shape=(side, side, 3), tokens_mlp_dim=round(alpha * tokens)
    )
    formula = 12 * 2 * alpha * tokens**2 * 768
    return _row("MLPMixerB16", side, model, "token_mixing", formula)


def _s2_mlp_growth(side):
    import keras_mixers

    # No weights mix tokens: the two dense layers around the shift cost 2 c^2 a position.
    model = keras_mixers.S2MLPDeep(input_shape=(side, side, 3))
    formula = 36 * 2 * 384**2 * (side // 16) ** 2
    return _row("S2MLPDeep", side, model, "shift_fc", formula)


def _smlpnet_growth(side):
    import keras_mixers

    model = keras_mixers.SMLPNetT(input_shape=(side, side, 3))
    formula = 0
    for stage, depth in enumerate((2, 8, 14, 2)):
        s, c = side // (4 * 2**stage), 80 * 2**stage
        formula += depth * (s * s * c * (s + s) + 3 * s * s * c * c + 9 * s * s * c)
    return _row("SMLPNetT", side, model, "depthwise_conv|axial_projection", formula)


def _row(name, side, model, mixing, formula):
    total, counted = multiply_adds(model), multiply_adds(model, mixing)
    return (name, side, *(f"{macs / 1e9:.3f} G" for macs in (total, counted, formula)))


def s2_mlp_block():
    """Returns the parameters of a block of S2-MLP-deep without its norms: counted, by formula."""
    import keras_mixers

    model = keras_mixers.S2MLPDeep()
    names = ("shift_fc1", "shift_fc2", "channel_mixing")
    counted = sum(model.get_layer(f"block_0_{name}").count_params() for name in names)
    c, hidden = 384, 1536
    return counted, c * (2 * c + 2 * hidden) + 3 * c + hidden


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="keras-mixers model-table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--growth", action="store_true", help="print the growth of the cost instead of the table"
    )
    parser.add_argument(
        "--weights", action="store_true", help="print the published weights instead of the table"
    )
    args = parser.parse_args(argv)
    cli.prepare(parser, "export", ("tabulate",))
    return args


def main(argv=None):
    args = _parse(argv)
    if args.weights or not args.growth:
        print(weights() if args.weights else table())
        return 0
    print(growth())
    print(
        "\nThe mixing part of a block, and its formula:\n"
        "MLP-Mixer: token mixing with hidden units in proportion to the tokens, 2 alpha (HW)^2 C;\n"
        "S2-MLP: the two dense layers around the shift, 2 HW C^2;\n"
        "sMLPNet: depthwise convolution and axial projection, HWC(H+W) + 3 HWC^2 + 9 HWC."
    )
    counted, formula = s2_mlp_block()
    print(
        f"Parameters of a block of S2MLPDeep without its norms: {counted:,}; "
        f"c(2c + 2c') + 3c + c' = {formula:,}, c = 384, c' = 1536."
    )
    return 0
