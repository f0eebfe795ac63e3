import keras
from keras import ops

from keras_mixers.layers import _training


@keras.saving.register_keras_serializable(package="keras_mixers")
class LayerNormalization(keras.layers.LayerNormalization):
    """Keras' LayerNormalization in a form that takes fewer passes over the memory.

    The values are the same, computed in float32 at least: centered, divided, scaled, moved, in this
    order, so that TFLite's converter folds scale and offset into a dense layer that follows, and
    every step has an integer kernel. Left to Keras: other axes than the last, and layers without
    a scale or an offset.

    Args:
        epsilon: Added to the variance. Defaults to 1e-6 (Flax's; PyTorch's is 1e-5).
        **kwargs: Keras' other arguments.

    Input and output shape: `(..., channels)`.

    Paper: https://arxiv.org/abs/1607.06450.
    """

    def __init__(self, epsilon=1e-6, **kwargs):
        super().__init__(epsilon=epsilon, **kwargs)

    def call(self, inputs, training=None):
        last = self.axis in ([-1], [len(inputs.shape) - 1])
        if not (last and self.scale and self.center) or self.rms_scaling:
            return super().call(inputs)
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        weights = [ops.cast(array, dtype) for array in (self.gamma, self.beta)]

        def normalized(*arrays):
            return _training.normalize(*arrays, self.epsilon)

        trained = ops.custom_gradient(normalized)

        def layer_norm(x):
            x = ops.cast(x, dtype)
            y = trained(x, *weights) if training else normalized(x, *weights)[0]
            return ops.cast(y, self.compute_dtype)

        return _training.as_rows(layer_norm, inputs) if training else layer_norm(inputs)
