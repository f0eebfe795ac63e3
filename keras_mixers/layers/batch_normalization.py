import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mixers")
class SyncBatchNormalization(keras.layers.BatchNormalization):
    """Keras' BatchNormalization over the last axis, with the statistics of the global batch.

    However many replicas share a batch, the result is that of one device: under a TensorFlow
    strategy the replicas' statistics are combined; JAX' data parallelism sees the whole batch by
    itself. Keras' own argument for this is refused on JAX, so a model that carries it could not
    be moved between the two.

    Args:
        momentum: Of the moving statistics. Defaults to 0.9 (PyTorch's 0.1).
        epsilon: Added to the variance. Defaults to 1e-5 (PyTorch's).
        **kwargs: Keras' other arguments.

    Input and output shape: `(..., channels)`.

    Paper: https://arxiv.org/abs/1502.03167.
    """

    def __init__(self, momentum=0.9, epsilon=1e-5, **kwargs):
        synchronized = keras.backend.backend() == "tensorflow"
        super().__init__(momentum=momentum, epsilon=epsilon, synchronized=synchronized, **kwargs)

    def _moments(self, inputs, mask):
        """Keras' method, on centered inputs.

        Its synchronized variance is E[x^2] - E[x]^2, which in float32 drowns in rounding where the
        mean is much larger than the std; it does not if the inputs are centered first.
        """
        if not self.synchronized:
            return super()._moments(inputs, mask)
        center = ops.stop_gradient(super()._moments(inputs, mask)[0])
        rest, variance = super()._moments(inputs - center, mask)
        return center + rest, variance

    def get_config(self):
        config = super().get_config()
        del config["synchronized"]
        return config
