"""What every family's builder begins and ends with: input, drop-path rates, sums, head, weights."""

import dataclasses
import logging

import keras

from keras_mixers import weights as weight_files
from keras_mixers.layers import DropPath, ResidualAdd, checks, initializers
from keras_mixers.models.mixer_model import MixerModel
from keras_mixers.preprocessing import ImagePreprocessing, Preprocessing

_log = logging.getLogger("keras_mixers")


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


def _report_scaling_of(tensor):
    """Logs a line where a model that scales pixels is built on what other layers give."""
    if not any(tensor is source for source in keras.utils.get_source_inputs(tensor)):
        _log.warning(
            "input_tensor: the model scales what it gives as pixels of 0 to 255: build with "
            "include_preprocessing=False if it gives scaled images"
        )


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


class Assembly:
    """Puts a family's model together and writes down what its stem, blocks and stages are.

    A builder passes each tensor through the method that says what it is the end of.

    Args:
        family: The `Family`.
        input_tensor: As of the builder.
        input_shape: As of the builder.
        include_preprocessing: As of the builder.
        preprocessing: As of the builder, or None.
        source: What `weights.describe` says of the weights, or None.
    """

    def __init__(
        self, family, input_tensor, input_shape, include_preprocessing, preprocessing, source
    ):
        self._family, self._input_tensor, self._source = family, input_tensor, source
        self._inputs = image_input(input_shape, input_tensor)
        preprocessing = _preprocessing(family, preprocessing, source, self._inputs.shape)
        self._first = ImagePreprocessing(
            preprocessing, bool(include_preprocessing), name="preprocessing"
        )
        if include_preprocessing:
            _report_scaling_of(self._inputs)
        self._end = self.images = self._first(self._inputs)
        self._architecture = {
            "family": family.name,
            **{part: [] for part in ("stem", "blocks", "roles", "depths", "reductions")},
            **{part: [] for part in ("final_norm", "head")},
        }

    def stem(self, x, reduction):
        """Ends the stem; the first stage has one position for `reduction` x `reduction` pixels."""
        self._architecture["stem"] = self._names_up_to(x)
        self.stage(reduction)
        return x

    def stage(self, reduction):
        """Begins a stage: what is added before the end of the next block belongs to that block."""
        self._architecture["reductions"].append(reduction)
        self._architecture["depths"].append(0)

    def block(self, x, name):
        """Ends a block, whose layers' names begin with `name`."""
        names = self._names_up_to(x)
        self._architecture["blocks"].append(names)
        self._architecture["roles"].append([n.removeprefix(f"{name}_") for n in names])
        self._architecture["depths"][-1] += 1
        return x

    def final_norm(self, x):
        """Ends the norm before the pooling."""
        self._architecture["final_norm"] = self._names_up_to(x)
        return x

    def finish(self, outputs, include_top, name, weights, resize="interpolate"):
        """Returns the `MixerModel`, with its weights loaded if a file is named."""
        if include_top:
            self._architecture["head"] = self._names_up_to(outputs)[-1:]
        self._first.architecture = self._architecture
        inputs = self._inputs
        if self._input_tensor is not None:
            inputs = keras.utils.get_source_inputs(inputs)
            # A list of one would be asked for in each call.
            inputs = inputs[0] if len(inputs) == 1 else inputs
        model = MixerModel(inputs, outputs, name=name)
        if weights is not None:
            weight_files.assign(model, weights, resize, None, self._family.namings, self._source)
        return model

    def _names_up_to(self, x):
        """Names of the layers from where the last part ended to `x`, in the order of the graph."""
        start, self._end = self._end, x
        if x is start:
            return []
        operations = keras.Function(start, x).operations
        kept = (op for op in operations if not isinstance(op, keras.layers.InputLayer))
        return [operation.name for operation in kept]


def _preprocessing(family, given, source, shape):
    """Returns the `Preprocessing` of a model: the one given, that of its weights, or the family's.

    A line says where the last was assumed of weights that do not say it.
    """
    if not isinstance(given, Preprocessing | None):
        raise ValueError(
            "`preprocessing` must be None or a keras_mixers.preprocessing.Preprocessing. "
            f"Received: preprocessing={given!r}"
        )
    found = given or (source and source.preprocessing)
    assumed = found is None and source is not None
    found = found or family.preprocessing
    _, height, width, channels = shape
    size = None if None in (height, width) else (height, width)
    fitting = dataclasses.replace(found.for_channels(channels), image_size=size)
    if assumed:
        _log.warning(
            "weights: their preprocessing is not known; assumed that of the family (%s): give "
            "preprocessing= if they were trained with another",
            fitting,
        )
    if len(fitting.mean) < len(found.mean):
        _log.warning(
            "preprocessing: images of %d channels are scaled by the average mean and std of %d, "
            "which is near what each color had, not the same",
            *(channels, len(found.mean)),
        )
    return fitting
