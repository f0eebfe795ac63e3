"""What every family's builder begins and ends with: input, drop-path rates, sums, head, weights."""

import functools
import inspect

import keras

from keras_mixers import weights as weight_files
from keras_mixers.layers import DropPath, ResidualAdd, checks, initializers


def variant_of(family, **row):
    """Decorator that makes a constructor of a function with nothing but a name and a docstring.

    The constructor has the signature of `family`, with the arguments in `row` as its defaults:
    one decorated function is one row of the paper's table of variants.
    """
    signature = inspect.signature(family)
    parameters = signature.parameters.values()
    signature = signature.replace(
        parameters=[p.replace(default=row.get(p.name, p.default)) for p in parameters]
    )

    def decorate(function):
        @functools.wraps(function)
        def construct(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            named = bound.arguments["weights"]
            bound.arguments["weights"] = weight_files.path_of(function.__name__, named)
            return family(*bound.args, **bound.kwargs)

        construct.__signature__ = signature
        text = inspect.cleandoc(function.__doc__)
        construct.__doc__ = f"{text}\n\nArguments and errors: see `{family.__name__}`."
        return construct

    return decorate


def image_input(input_shape, input_tensor):
    """Returns the tensor that a model starts from, `(batch, height, width, channels)`."""
    if input_shape is not None:
        _check_input_shape(input_shape)
    if input_tensor is None:
        return keras.Input(input_shape or (224, 224, 3), name="images")
    if not keras.utils.is_keras_tensor(input_tensor):
        raise ValueError(
            "`input_tensor` must be a Keras tensor, such as keras.Input returns. "
            f"Received: {type(input_tensor).__name__}"
        )
    if len(input_tensor.shape) != 4:
        raise ValueError(
            "`input_tensor` must have the shape (batch, height, width, channels). "
            f"Received: shape={tuple(input_tensor.shape)}"
        )
    if input_shape is not None and tuple(input_tensor.shape[1:]) != tuple(input_shape):
        raise ValueError(
            "`input_shape` must be left out or agree with `input_tensor`. Received: "
            f"input_shape={tuple(input_shape)}, input_tensor of shape {tuple(input_tensor.shape)}"
        )
    return input_tensor


def _check_input_shape(input_shape):
    is_triple = isinstance(input_shape, tuple | list) and len(input_shape) == 3
    if not is_triple or input_shape[-1] is None:
        raise ValueError(
            "`input_shape` must be (height, width, channels), where only height and width may be "
            f"None. Received: input_shape={input_shape!r}"
        )
    for size in input_shape:
        if size is not None:
            checks.positive_int("input_shape", size)


def drop_path_rates(last_rate, num_blocks):
    """Returns a rate for each block: linear over depth, `last_rate` at the last block."""
    last_rate = checks.rate("drop_path_rate", last_rate)
    return [last_rate * block / max(num_blocks - 1, 1) for block in range(num_blocks - 1)] + [
        last_rate
    ]


def residual_sum(x, residual, drop_path_rate, name):
    """Returns `x` + `residual`, the latter through stochastic depth where there is a rate."""
    if drop_path_rate:
        residual = DropPath(drop_path_rate, name=f"{name}_drop_path")(residual)
    return ResidualAdd(name=f"{name}_add")([x, residual])


def top(
    x, include_top, pooling, classes, classifier_activation, kernel_initializer, bias_initializer
):
    """Returns class scores, a pooled vector or the feature map, as keras.applications do."""
    checks.one_of("pooling", pooling, (None, "avg", "max"))
    if not include_top:
        return _pool(x, pooling) if pooling else x
    x = _pool(x, "avg")
    return keras.layers.Dense(
        checks.positive_int("classes", classes),
        activation=classifier_activation,
        kernel_initializer=initializers.create(kernel_initializer, x.shape[-1]),
        bias_initializer=initializers.create(bias_initializer, x.shape[-1]),
        # Class scores in full precision under a mixed policy: half precision would cost accuracy
        # in the loss, and the layer is small.
        dtype=keras.config.dtype_policy().variable_dtype,
        name="head",
    )(x)


def _pool(x, pooling):
    if pooling == "max":
        return keras.layers.GlobalMaxPooling2D(data_format="channels_last", name="max_pool")(x)
    return keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="avg_pool")(x)


def finish(inputs, outputs, input_tensor, name, weights, resize="interpolate"):
    """Returns the functional model, with its weights loaded if a file is named."""
    if input_tensor is not None:
        inputs = keras.utils.get_source_inputs(inputs)
    model = keras.Model(inputs, outputs, name=name)
    if weights is not None:
        weight_files.load(model, weights, resize)
    return model
