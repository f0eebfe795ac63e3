"""The dense child layer that several primitives are made of."""

import keras

from keras_mixers.layers import initializers


def built_dense(layer, name, fan_in, units, activation=None, use_bias=True):
    """Returns a built dense layer with the initializers and the dtype policy of `layer`."""
    dense = keras.layers.Dense(
        units,
        activation=activation,
        use_bias=use_bias,
        kernel_initializer=initializers.create(layer.kernel_initializer, fan_in),
        bias_initializer=initializers.create(layer.bias_initializer, fan_in),
        dtype=layer.dtype_policy,
        name=name,
        # A frozen layer is built again from its config: Keras would freeze no layer within it.
        trainable=layer.trainable,
    )
    dense.build((None, fan_in))
    return dense
