"""Trading arithmetic for memory: what lies within a residual is computed again when it is needed.

Paper: https://arxiv.org/abs/1604.06174.
"""

import functools
import itertools
import math

import keras
from keras import ops, tree


def forward(model, remat):
    """Returns a function with the values of `model(x, training=True)`; see `Recomputed`."""
    return Recomputed(model) if remat else functools.partial(model, training=True)


class Recomputed:
    """Calls a model so that the backward pass computes the insides of its residuals again.

    The model is cut where a single tensor carries everything on: before and after each residual
    sum. Only these tensors are stored between the two passes. Values, random draws and updates of
    moving statistics are those of the model itself.

    Args:
        model: A functional `keras.Model` of one input and one output, every layer called once.
    """

    def __init__(self, model):
        self._units = [Unit(*ends) for ends in _units(model)]

    def __call__(self, x):
        """Returns what `model(x, training=True)` returns."""
        for unit in self._units:
            x = _recomputed(unit, x) if unit.has_branches else unit(x, training=True)
        return x


class Unit(keras.layers.Layer):
    """Some layers of a model, from a tensor to the next one that carries everything on."""

    def __init__(self, start, end):
        super().__init__(autocast=False)
        self.start, self.end = start, end
        self._function = keras.Function(start, end)
        inputs = keras.layers.InputLayer
        self.parts = [op for op in self._function.operations if not isinstance(op, inputs)]
        self.has_branches = len(self.parts) > 1
        self.built = True

    def call(self, x):
        return self._function(x)


def _units(model):
    """Returns pairs of tensors: from each one through which everything passes to the next."""
    operations = model.operations
    last_use = {id(model.output): len(operations)}
    for place, operation in enumerate(operations):
        if place:
            last_use |= {id(tensor): place for tensor in tree.flatten(operation.input)}
    live, cuts = [], []
    for place, operation in enumerate(operations):
        live = [t for t in [*live, *tree.flatten(operation.output)] if last_use[id(t)] > place]
        if len(live) == 1 and (not cuts or live[0] is not cuts[-1]):
            cuts += live
    return itertools.pairwise(cuts)


def _recomputed(unit, x):
    """Calls a unit whose inside the backward pass computes again."""
    start, end = (tuple(tensor.shape[1:]) for tensor in (unit.start, unit.end))
    state = [ops.stop_gradient(v) for v in unit.non_trainable_variables]

    # State goes in and comes out as values: what is run twice must not assign.
    @_remat
    def compute(x, *weights):
        variables = unit.trainable_variables + unit.non_trainable_variables
        mapping = zip(variables, [*weights, *state], strict=True)
        with keras.StatelessScope(list(mapping)) as scope:
            y = unit(ops.reshape(x, (-1, *start)), training=True)
            new = [scope.get_current_value(v) for v in unit.non_trainable_variables]
        return _flat(y), *new

    y, *state_after = compute(_flat(x), *[v.value for v in unit.trainable_variables])
    for variable, value in zip(unit.non_trainable_variables, state_after, strict=True):
        variable.assign(value)
    return ops.reshape(y, (-1, *end))


def _remat(function):
    """Returns a function of arrays whose backward pass computes it again.

    `keras.remat` on TensorFlow leaves nothing that keeps XLA from finding both computations the
    same and storing the first.
    """
    if keras.backend.backend() != "tensorflow":
        return keras.remat(function)
    import tensorflow as tf

    @tf.custom_gradient
    def computed(*args):
        def backward(*gradients):
            # Zero, but not before the gradients are there.
            zero = 0 * tf.reshape(gradients[0], (-1,))[0]
            first = args[0] + tf.cast(zero, args[0].dtype)
            with tf.GradientTape() as tape:
                tape.watch([first, *args[1:]])
                results = function(first, *args[1:])
            return tape.gradient(results[0], [first, *args[1:]], gradients[0])

        return function(*args), backward

    return computed


def _flat(x):
    """Returns a feature map with its rows and columns as one axis, which a TPU pads less."""
    return ops.reshape(x, (-1, math.prod(x.shape[1:-1]), x.shape[-1]))
