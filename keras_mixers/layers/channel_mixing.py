import keras

from keras_mixers.layers import _training, checks
from keras_mixers.layers.mlp import MLP


@keras.saving.register_keras_serializable(package="keras_mixers")
class ChannelMixing(MLP):
    """The two-layer perceptron across the channels, shared by the positions.

    Args:
        hidden_dim: Units of the first dense layer (the paper's D_C).
        activation: After the first dense layer: `"gelu"` (exact, the default), `"gelu_tanh"` (as
            the official Flax code computes it), or anything that `keras.activations.get` takes.
        dropout_rate: Share of the values dropped after each of the two dense layers, in [0, 1).
            Defaults to 0, as in the paper's ImageNet runs.
        kernel_initializer: Of both kernels. Defaults to `"lecun_normal"` (Flax's default).
            `"fan_in_uniform"` is PyTorch's default.
        bias_initializer: Of both biases. Defaults to `"zeros"`; also takes `"fan_in_uniform"`.
        seed: Integer seed of the dropout.

    Input and output shape: `(batch, height, width, channels)`; height and width may be unknown.

    Raises:
        ValueError: An argument is out of range, or the input is no feature map.

    Paper: https://arxiv.org/abs/2105.01601, section 2.
    """

    def build(self, input_shape):
        _, _, channels = checks.feature_map(self, input_shape)
        self.build_mlp(channels)

    def call(self, inputs, training=None):
        if not training:
            return self.mlp(inputs, training)
        return _training.as_rows(lambda x: self.mlp(x, training), inputs)
