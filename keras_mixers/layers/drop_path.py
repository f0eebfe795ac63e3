import keras
from keras import ops

from keras_mixers.layers import _training, checks


@keras.saving.register_keras_serializable(package="keras_mixers")
class DropPath(keras.layers.Layer):
    """Stochastic depth: in training, drops the residual of whole samples and rescales the others.

    A sample's values are set to 0 with probability `rate` and divided by `1 - rate` otherwise, so
    that their expectation does not change. The identity at inference.

    Under `tf.distribute`, the replicas of a step draw the same (as those of Keras' Dropout do): a
    sample is dropped together with the one at its place in every other replica. A training loop
    that knows better sets the attribute `draw`, a function of `(batch, seed_generator)` that
    returns uniform numbers in [0, 1) of shape `(batch,)`.

    Args:
        rate: Probability of dropping a sample, in [0, 1).
        seed: Integer seed of the draws.

    Input and output shape: `(batch, ...)`, any rank.

    Raises:
        ValueError: `rate` is out of range.

    Paper: https://arxiv.org/abs/1603.09382.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate = checks.rate("rate", rate)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.draw = _draw

    def call(self, inputs, training=None):
        if not training or self.rate == 0:
            return inputs
        kept = self.draw(ops.shape(inputs)[0], self.seed_generator) >= self.rate
        factor = ops.cast(kept, inputs.dtype) / (1 - self.rate)
        return _training.as_rows(lambda x: x * _on_every_axis(factor, x), inputs)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


def _on_every_axis(factor, x):
    return ops.reshape(factor, (-1, *[1] * (len(x.shape) - 1)))


def _draw(batch, seed):
    # In float32 whatever the policy: a bfloat16 number in [0, 1) is a multiple of 1/128, which
    # would double the small rates of a network's first blocks.
    return keras.random.uniform((batch,), dtype="float32", seed=seed)
