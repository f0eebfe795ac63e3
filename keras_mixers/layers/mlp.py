"""The two-layer perceptron that token mixing and channel mixing share."""

import keras

from keras_mixers.layers import _training, activations, checks, initializers
from keras_mixers.layers.dense import built_dense


class MLP(keras.layers.Layer):
    """Dense, activation, dropout, dense, dropout along the last axis, back to that axis' size.

    A base class: `TokenMixing` and `ChannelMixing` say which axis of a feature map that is.
    """

    def __init__(
        self,
        hidden_dim,
        activation="gelu",
        dropout_rate=0.0,
        kernel_initializer="lecun_normal",
        bias_initializer="zeros",
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_dim = checks.positive_int("hidden_dim", hidden_dim)
        self.activation = activations.get(activation)
        self.dropout_rate = checks.rate("dropout_rate", dropout_rate)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.seed = seed
        if self.dropout_rate:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build_mlp(self, dim):
        """Creates and builds the two dense layers for a last axis of size `dim`."""
        self.fc1 = built_dense(self, "fc1", dim, self.hidden_dim)
        self.fc2 = built_dense(self, "fc2", self.hidden_dim, dim)

    def mlp(self, x, training, apply=lambda dense, x: dense(x)):
        """The perceptron along the last axis of `x`, or where `apply` has its dense layers work."""
        activation = _training.activation_of(self.activation) if training else self.activation
        x = self._dropout(activation(apply(self.fc1, x)), training)
        return self._dropout(apply(self.fc2, x), training)

    def _dropout(self, x, training):
        if training and self.dropout_rate:
            return keras.random.dropout(x, self.dropout_rate, seed=self.seed_generator)
        return x

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "activation": activations.serialize(self.activation),
            "dropout_rate": self.dropout_rate,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "seed": self.seed,
        }
