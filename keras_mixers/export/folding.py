"""The same function with fewer operations: what inference can do beforehand goes into weights."""

import keras
import numpy as np

from keras_mixers.layers import PatchEmbedding
from keras_mixers.preprocessing import ImagePreprocessing, own_scaling


def scales(model):
    """Returns whether a model scales its images itself, as ours do by default, also in others."""
    return own_scaling.of(model).included


def fold(model, scaling=None):
    """Returns a model in float32 that computes what `model` does, with less work.

    The scaling of a model that includes its preprocessing is folded into its first projection.

    A batch normalization between the last feature map and the classifier is folded into the
    classifier. (Those behind a convolution are folded by TFLite's converter; the others stand
    before an activation or a sum, where nothing can take them in.)

    Args:
        model: A `keras.Model` with one input and one output.
        scaling: None, or `(scale, offset)`, arrays of one number per channel: the result takes
            pixels, which `model` takes as `pixel * scale + offset`.
    """
    own = own_scaling.of(model)
    if own.included:
        scaling = own.preprocessing.factors(model.input_shape[-1])
    try:
        twin, norm, head, stem = _twin(model, scaling is not None)
        for layer in model.layers:
            if layer is not norm and not isinstance(layer, keras.layers.InputLayer):
                weights = layer.get_weights()
                if layer is head:
                    weights = _head_weights(weights, norm)
                if layer is stem:
                    weights = _stem_weights(weights, scaling)
                twin.get_layer(layer.name).set_weights(weights)
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError):
        # A subclass, with code of its own, a layer without a config, or one with weights that its
        # config does not say: LoRA's, or quantized ones.
        return model if scaling is None or own.included else _behind_scaling(model, scaling)
    unscaled = scaling is not None and stem is None and not own.included
    return _behind_scaling(twin, scaling) if unscaled else twin


def _twin(model, scales):
    """Returns an unfilled clone and the layers of `model` that change: norm, head and stem."""
    once = _called_once(model)
    norm, head = _norm_before_head(model, once)
    stem = _stem(model, once) if scales else None

    def clone(layer):
        if layer is norm:
            return keras.layers.Identity(name=layer.name, dtype="float32")
        if isinstance(layer, ImagePreprocessing) and stem is not None:
            return _in_float32(layer, scales=False)
        return _in_float32(layer, **({"use_bias": True} if layer is stem else {}))

    def call(layer, *inputs, **arguments):  # Those of the norm are not for what stands in for it.
        return layer(*inputs, **({} if isinstance(layer, keras.layers.Identity) else arguments))

    twin = keras.models.clone_model(model, clone_function=clone, call_function=call, recursive=True)
    return twin, norm, head, stem


def in_float32(model):
    """Returns `model` itself, or, if it was trained in mixed precision, its float32 twin."""
    if _is_float32(model):
        return model
    twin = keras.models.clone_model(model, clone_function=_in_float32, recursive=True)
    twin.set_weights(model.get_weights())
    return twin


def _is_float32(layer):
    inner = getattr(layer, "layers", ())  # A model may be a layer of another.
    return layer.compute_dtype == "float32" and all(map(_is_float32, inner))


def _in_float32(layer, **changes):
    if isinstance(layer, keras.layers.Layer):  # An operation between layers has no type.
        changes["dtype"] = "float32"
    return type(layer).from_config(layer.get_config() | changes)


def _behind_scaling(model, scaling):
    """For a model that is not ours: the scaling as a layer of its own."""
    inputs = keras.Input(model.input_shape[1:], name="pixels")
    scale, offset = (np.asarray(values, "float32").tolist() for values in scaling)
    return keras.Model(inputs, model(keras.layers.Rescaling(scale, offset)(inputs)))


def _called_once(model):
    """Names of the layers that the model has in one place only."""
    layers = model.get_config()["layers"]
    return {
        layer["config"]["name"] for layer in layers if len(layer.get("inbound_nodes", [1])) == 1
    }


def _stem(model, once):
    """The projection of patches that the images come to first, if the model begins with one."""
    first = _consumers(model, model.inputs[0])
    if len(first) == 1 and isinstance(first[0], ImagePreprocessing):
        first = _consumers(model, first[0].output)
    is_stem = len(first) == 1 and isinstance(first[0], PatchEmbedding) and first[0].name in once
    return first[0] if is_stem else None


def _stem_weights(weights, scaling):
    scale, offset = (np.asarray(values, "float64")[:, None] for values in scaling)
    kernel = weights[0].astype("float64")
    bias = (weights[1] if len(weights) == 2 else 0) + (kernel * offset).sum(axis=(0, 1, 2))
    return [(kernel * scale).astype("float32"), bias.astype("float32")]


def _norm_before_head(model, once):
    """Returns a batch normalization and the dense layer that it can be folded into, or Nones."""
    for norm in model.layers:
        if isinstance(norm, keras.layers.BatchNormalization) and norm.axis in (-1, 3):
            pools = _consumers(model, norm.output)
            heads = _consumers(model, pools[0].output) if len(pools) == 1 else []
            if (
                len(heads) == 1
                and isinstance(pools[0], keras.layers.GlobalAveragePooling2D)
                and pools[0].data_format == "channels_last"
                and isinstance(heads[0], keras.layers.Dense)
                and heads[0].use_bias
                and once.issuperset((norm.name, pools[0].name, heads[0].name))
            ):
                return norm, heads[0]
    return None, None


def _consumers(model, tensor):
    return [
        layer
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer)
        and any(one is tensor for one in keras.tree.flatten(layer.input))
    ]


def _head_weights(weights, norm):
    kernel, bias = (array.astype("float64") for array in weights)
    mean, variance = _numbers(norm.moving_mean), _numbers(norm.moving_variance)
    scale = (_numbers(norm.gamma) if norm.scale else 1) / np.sqrt(variance + norm.epsilon)
    offset = (_numbers(norm.beta) if norm.center else 0) - mean * scale
    return [
        (scale[:, None] * kernel).astype("float32"),
        (bias + offset @ kernel).astype("float32"),
    ]


def _numbers(variable):
    return keras.ops.convert_to_numpy(variable).astype("float64")
