import keras
from keras import ops

from keras_mixers.layers import checks, initializers
from keras_mixers.layers.dense import built_dense


@keras.saving.register_keras_serializable(package="keras_mixers")
class PatchMerging(keras.layers.Layer):
    """Concatenates 2x2 neighbors and projects them: half the height and width, twice the channels.

    The neighbors are concatenated row by row: top left, top right, bottom left, bottom right,
    each with its C channels. Without `norm` this is the same map as a 2x2 convolution of stride 2,
    and `conv_kernel.reshape(4 * C, hidden_dim)` is the kernel (a Keras kernel has the shape
    `(2, 2, C, hidden_dim)`; transpose a PyTorch one by `(2, 3, 1, 0)` first).

    Args:
        hidden_dim: Channels of the output. Defaults to twice the channels of the input.
        norm: A Keras layer applied to the 4C concatenated channels before the projection, as in
            Swin, such as `keras.layers.LayerNormalization(epsilon=1e-5)`. Defaults to none, as in
            sMLPNet.
        use_bias: Whether the projection has a bias. Defaults to `False` (sMLPNet, Swin).
        kernel_initializer: Defaults to `"lecun_normal"`.
        bias_initializer: Defaults to `"zeros"`; also takes `"fan_in_uniform"` (PyTorch's default).

    Input shape: `(batch, height, width, C)`; height and width may be unknown, but must be even.
    Output shape: `(batch, height / 2, width / 2, hidden_dim)`.

    Raises:
        ValueError: An argument is out of range, or a side is odd.

    Papers: https://arxiv.org/abs/2103.14030, section 3.1; https://arxiv.org/abs/2109.05422.
    """

    def __init__(
        self,
        hidden_dim=None,
        norm=None,
        use_bias=False,
        kernel_initializer="lecun_normal",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if norm is not None and not isinstance(norm, keras.layers.Layer):
            raise ValueError(f"`norm` must be None or a Keras layer. Received: norm={norm!r}")
        if hidden_dim is not None:
            hidden_dim = checks.positive_int("hidden_dim", hidden_dim)
        self.hidden_dim = hidden_dim
        self.norm = norm
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape):
        _, _, channels = checks.feature_map(self, input_shape)
        fan_in = 4 * channels
        if self.norm is not None and not self.norm.built:
            self.norm.build((*self.compute_output_shape(input_shape)[:3], fan_in))
        units = self.hidden_dim or 2 * channels
        self.projection = built_dense(self, "projection", fan_in, units, use_bias=self.use_bias)

    def call(self, inputs, training=None):
        checks.divisible(self, inputs.shape, 2, "2")
        inputs = checks.divisible_when_run(inputs, 2)
        _, height, width, channels = ops.shape(inputs)
        # Two columns of a row lie side by side in memory: only the rows have to be interleaved.
        x = ops.reshape(inputs, (-1, 2, width // 2, 2 * channels))
        x = ops.swapaxes(x, 1, 2)
        x = ops.reshape(x, (-1, height // 2, width // 2, 4 * channels))
        if self.norm is not None:
            x = self.norm(x, training=training)
        return self.projection(x)

    def compute_output_shape(self, input_shape):
        checks.divisible(self, input_shape, 2, "2")
        batch, height, width, channels = input_shape
        return (
            batch,
            height and height // 2,
            width and width // 2,
            self.hidden_dim or 2 * channels,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "norm": self.norm and keras.saving.serialize_keras_object(self.norm),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }

    @classmethod
    def from_config(cls, config):
        norm = config.get("norm")
        return cls(**{**config, "norm": norm and keras.saving.deserialize_keras_object(norm)})
