import keras

from keras_mixers.layers import checks, initializers


@keras.saving.register_keras_serializable(package="keras_mixers")
class PatchEmbedding(keras.layers.Layer):
    """Cuts an image into square patches and projects each to a vector: image to grid.

    One convolution whose kernel and stride are the patch size.

    Args:
        hidden_dim: Channels of the grid.
        patch_size: Side of a patch in pixels.
        use_bias: Whether the projection has a bias. Defaults to `True` (MLP-Mixer, S2-MLP);
            sMLPNet has none.
        kernel_initializer: Defaults to `"lecun_normal"` (Flax's default).
        bias_initializer: Defaults to `"zeros"`; also takes `"fan_in_uniform"` (PyTorch's default).

    Input shape: `(batch, height, width, channels)`; height and width may be unknown, but each
        must be a multiple of `patch_size`.
    Output shape: `(batch, height / patch_size, width / patch_size, hidden_dim)`.

    Raises:
        ValueError: An argument is out of range, or the patch does not divide the image.

    Paper: https://arxiv.org/abs/2010.11929, section 3.1.
    """

    def __init__(
        self,
        hidden_dim,
        patch_size,
        use_bias=True,
        kernel_initializer="lecun_normal",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_dim = checks.positive_int("hidden_dim", hidden_dim)
        self.patch_size = checks.positive_int("patch_size", patch_size)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape):
        _, _, channels = checks.feature_map(self, input_shape)
        self._check_size(input_shape)  # Here too: Keras wraps what `call` raises in many lines.
        fan_in = self.patch_size**2 * channels
        self.projection = keras.layers.Conv2D(
            self.hidden_dim,
            self.patch_size,
            strides=self.patch_size,
            data_format="channels_last",
            use_bias=self.use_bias,
            kernel_initializer=initializers.create(self.kernel_initializer, fan_in),
            bias_initializer=initializers.create(self.bias_initializer, fan_in),
            dtype=self.dtype_policy,
            name="projection",
            trainable=self.trainable,
        )
        self.projection.build(input_shape)

    def call(self, inputs):
        self._check_size(inputs.shape)
        return self.projection(checks.divisible_when_run(inputs, self.patch_size))

    def _check_size(self, shape):
        checks.divisible(self, shape, self.patch_size, f"`patch_size` = {self.patch_size}")

    def compute_output_shape(self, input_shape):
        self._check_size(input_shape)
        height, width = (side and side // self.patch_size for side in input_shape[1:3])
        return (input_shape[0], height, width, self.hidden_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "patch_size": self.patch_size,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }
