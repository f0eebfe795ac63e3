import keras
from keras import ops

from keras_mixers.layers import checks
from keras_mixers.layers.mlp import MLP


@keras.saving.register_keras_serializable(package="keras_mixers")
class TokenMixing(MLP):
    """The two-layer perceptron across all positions of the grid, shared by the channels.

    The grid is flattened row by row, so that position (row, column) is token
    `row * width + column`. The weights belong to one grid size.

    Args:
        hidden_dim: Units of the first dense layer (the paper's D_S).
        activation: After the first dense layer: `"gelu"` (exact, the default), `"gelu_tanh"` (as
            the official Flax code computes it), or anything that `keras.activations.get` takes.
        dropout_rate: Share of the values dropped after each of the two dense layers, in [0, 1).
            Defaults to 0, as in the paper's ImageNet runs.
        kernel_initializer: Of both kernels. Defaults to `"lecun_normal"` (Flax's default).
            `"fan_in_uniform"` is PyTorch's default.
        bias_initializer: Of both biases. Defaults to `"zeros"`; also takes `"fan_in_uniform"`.
        seed: Integer seed of the dropout.

    Input and output shape: `(batch, height, width, channels)`, height and width known.

    Raises:
        ValueError: An argument is out of range; height or width is unknown; a grid comes that
            the layer was not built for.

    Paper: https://arxiv.org/abs/2105.01601, section 2.
    """

    def build(self, input_shape):
        height, width, _ = checks.fixed_grid(self, input_shape)
        self.grid = (height, width)
        self.build_mlp(height * width)

    def call(self, inputs, training=None):
        checks.same_grid(self, inputs.shape)
        height, width = self.grid
        channels = inputs.shape[-1]
        x = ops.reshape(inputs, (-1, height * width, channels))
        if training and not self.fc1.quantization_mode:
            x = self.mlp(x, training, _from_left)
        else:  # The form that TFLite has kernels for, also in eight bits.
            x = ops.swapaxes(self.mlp(ops.swapaxes(x, 1, 2), training), 1, 2)
        return ops.reshape(x, (-1, height, width, channels))

    def compute_output_shape(self, input_shape):
        checks.fixed_grid(self, input_shape)
        return super().compute_output_shape(input_shape)


def _from_left(dense, x):
    """A dense layer along the axis before the last: in training, quicker than transposing twice."""
    weights = ops.transpose(dense.kernel)
    return ops.custom_gradient(_product)(weights, x) + dense.bias[:, None]


def _product(weights, x):
    def gradient(*args, upstream=None):
        # Not TensorFlow's own, which finds out at run time what was broadcast.
        (upstream,) = args if upstream is None else (upstream,)
        of_each = ops.matmul(upstream, ops.swapaxes(x, 1, 2))
        return ops.sum(of_each, axis=0), ops.matmul(ops.transpose(weights), upstream)

    return ops.matmul(weights, x), gradient
