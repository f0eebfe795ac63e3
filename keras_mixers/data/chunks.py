"""Prepares images by the chunk, which costs less than one by one, and joins them to batches."""

import tensorflow as tf

# AutoGraph would rewrite what data sets call, for a second or so of each start.
_as_it_is = tf.autograph.experimental.do_not_convert
_LARGEST = 32
_NUMBER = tf.TensorSpec((), tf.int64)


def batches(parts, prepare, instead, finish, readers):
    """Maps the images of every part by `prepare`, or `instead` where that fails; joins them.

    Both are what `traced` returns.

    Images are prepared and finished by the chunk, which costs less than one by one; only where a
    chunk fails are its images prepared one by one, to find those that do. `readers` chunks are
    under way at once, at most.
    """
    (size,) = parts.element_spec[0].shape
    chunk = _chunk_size(size)
    outputs = instead.structured_outputs
    kinds = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), outputs)

    def whole(numbers, indices):
        # A loop, because a graph with `chunk` times the operations takes a minute to start.
        images = (numbers, indices)
        return tf.map_fn(lambda image: prepare(*image), images, fn_output_signature=kinds)

    def none(numbers, indices):
        images = (numbers, indices)
        return tf.map_fn(lambda image: instead(*image), images, fn_output_signature=kinds)

    @_as_it_is
    def chunk_of(*images):
        at_once = tf.data.Dataset.from_tensors(images).map(whole).ignore_errors()
        # One data set for all of a chunk: to start one for each image takes twice the work.
        one_by_one = (
            tf.data.Dataset.from_tensor_slices((tf.range(chunk), *images))
            .map(_as_it_is(lambda place, *image: (place, prepare(*image))))
            .ignore_errors()
            .batch(chunk)
            .map(_as_it_is(lambda places, prepared: _put(none(*images), places, prepared)))
        )
        nothing = tf.data.Dataset.from_tensors(images).map(none)
        return at_once.concatenate(one_by_one).concatenate(nothing).take(1)

    @_as_it_is
    def chunks(*part):
        return tf.data.Dataset.from_tensor_slices(
            tuple(tf.reshape(x, (size // chunk, chunk)) for x in part)
        )

    @_as_it_is
    def joined(*values):
        return tuple(tf.reshape(value, (size, *value.shape[2:])) for value in values)

    return (
        parts.flat_map(chunks)
        .interleave(
            chunk_of, cycle_length=readers, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        .map(_as_it_is(finish), num_parallel_calls=tf.data.AUTOTUNE)
        .batch(size // chunk, drop_remainder=True)
        .map(joined, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(_as_written())
    )


def _as_written():
    """TensorFlow's rewriting of a data set makes this one no faster, and the first batch later."""
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    return options


def _put(chunk, places, prepared):
    return tf.nest.map_structure(
        lambda all_, some: tf.tensor_scatter_nd_update(all_, places[:, None], some), chunk, prepared
    )


def traced(function):
    """Returns a function of an image's running number and index, traced once for all its uses."""
    return tf.function(function, autograph=False).get_concrete_function(_NUMBER, _NUMBER)


def _chunk_size(size):
    """The largest divisor from 2 to 32; even where `size` is, so that no pair is parted."""
    divisors = [d for d in range(2, _LARGEST + 1) if size % d == 0]
    even = [d for d in divisors if d % 2 == 0]
    return max(even or divisors or [size])
