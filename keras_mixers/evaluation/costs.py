"""What a model costs: its parameters and multiply-adds, and how these grow with the image."""

import contextlib
import math
import re

import keras


@contextlib.contextmanager
def without_values():
    """What is built within has weights of a shape but without values: no time, no memory.

    Such a model can be counted, and nothing else; Keras forgets it and all names at the end.
    """
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        keras.backend.clear_session()  # Else the next scope's end gives them values.


def trainable_parameters(model):
    """Returns the number of trainable parameters of `model`."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def multiply_adds(model, layers=""):
    """Counts the multiply-adds of `model` for one image, from the operations that it runs.

    Args:
        model: A `keras.Model` of fixed image size, on the TensorFlow backend.
        layers: Regular expression: count only within the layers whose name it matches.
    """
    import tensorflow as tf

    image = tf.TensorSpec((1, *model.input_shape[1:]), "float32")
    # Weights as arguments, which need no values.
    weights = [
        [tf.TensorSpec(weight.shape, weight.dtype) for weight in some]
        for some in (model.trainable_variables, model.non_trainable_variables)
    ]
    step = tf.function(lambda *args: model.stateless_call(*args, training=False), autograph=False)
    traced = step.get_concrete_function(*weights, image)
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


def growth():
    """Returns how the cost grows with the image's side, beside the papers' formulas."""
    from tabulate import tabulate

    rows = []
    for row, sides in (
        (_mixer_growth, (112, 224, 336, 448)),
        (_s2_mlp_growth, (112, 224, 336, 448)),
        (_smlpnet_growth, (128, 224, 320, 448)),  # Multiples of 32 only.
    ):
        for side in sides:
            with without_values():
                rows.append(row(side))
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

    names = ("shift_fc1", "shift_fc2", "channel_mixing")
    with without_values():
        model = keras_mixers.S2MLPDeep()
        counted = sum(model.get_layer(f"block_0_{name}").count_params() for name in names)
    c, hidden = 384, 1536
    return counted, c * (2 * c + 2 * hidden) + 3 * c + hidden
