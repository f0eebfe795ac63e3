"""Functions of an image file that are traced once a process, and called wherever they are used."""

import functools


def once(function):
    """Returns a function of a file's bytes, a string tensor, that TensorFlow traces only once.

    Each data set, preview and exported signature would trace it anew: hundreds of operations.
    """

    @functools.cache
    def traced():
        import tensorflow as tf

        bytes_of_a_file = tf.TensorSpec((), tf.string)
        return tf.function(function, input_signature=[bytes_of_a_file], autograph=False)

    return functools.wraps(function)(lambda data: traced()(data))
