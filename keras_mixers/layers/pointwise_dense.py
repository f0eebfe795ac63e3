import keras
from keras import ops

from keras_mixers.layers import _training


@keras.saving.register_keras_serializable(package="keras_mixers")
class PointwiseDense(keras.layers.Dense):
    """Keras' Dense on the channels of a feature map, in a form that costs less to train.

    In training, a TPU sees a row of positions instead of a grid, and a `"gelu"` keeps nothing but
    its input for the gradient. Inference is left to Keras, and so is a quantized layer.

    Args:
        units: Channels of the output.
        activation: Anything that `keras.activations.get` takes. Defaults to none.
        **kwargs: Keras' other arguments.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: `(batch, height, width, units)`.
    """

    def __init__(self, units, activation=None, **kwargs):
        super().__init__(units, activation=activation, **kwargs)

    def call(self, inputs, training=None):
        if not training or self.quantization_mode or self.lora_enabled:
            return super().call(inputs, training=training)
        return _training.as_rows(self._dense, inputs)

    def _dense(self, x):
        x = ops.matmul(x, self.kernel)
        if self.use_bias:
            x = ops.add(x, self.bias)
        return _training.activation_of(self.activation)(x)
