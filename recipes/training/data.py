"""From pictures in memory to batches for `fit`."""

import tensorflow as tf


def steps_per_epoch(images, batch_size):
    """Returns the number of whole batches in `images`.

    Raises:
        ValueError: `batch_size` is not from 1 to `len(images)`.
    """
    if not 1 <= batch_size <= len(images):
        raise ValueError(
            f"`batch_size` must be from 1 to the number of training pictures, {len(images)}. "
            f"Received: batch_size={batch_size}"
        )
    return len(images) // batch_size


def training_batches(images, labels, batch_size, seed, augment=None):
    """Returns an endless data set of shuffled, augmented batches of static shape.

    The order and the augmentation of step n depend on `(seed, n)` only. Each epoch sees every
    picture at most once; the pictures that do not fill a batch wait for another epoch.

    Args:
        images: float32 array of shape `(pictures, height, width, channels)`.
        labels: int array of shape `(pictures,)`.
        batch_size: Pictures per step, at most `len(images)`.
        seed: Integer.
        augment: `None`, or a function of `(images, seed)`, where `seed` is a pair of integers to
            draw from, that returns images of the same shape.

    Raises:
        ValueError: `batch_size` is not from 1 to `len(images)`.
    """
    steps = steps_per_epoch(images, batch_size)
    images, labels = tf.constant(images), tf.constant(labels)

    def load(step):
        epoch, step_in_epoch = step // steps, step % steps
        # Negative, so that no epoch's order is drawn from the seed of a step's augmentation.
        order = tf.random.experimental.stateless_shuffle(
            tf.range(images.shape[0]), seed=[seed, -1 - epoch]
        )
        chosen = order[step_in_epoch * batch_size :][:batch_size]
        chosen = tf.ensure_shape(chosen, (batch_size,))
        batch = tf.gather(images, chosen)
        if augment is not None:
            batch = augment(batch, (seed, step))
        return batch, tf.gather(labels, chosen)

    numbers = tf.data.Dataset.range(tf.int32.max, output_type=tf.int32)
    return numbers.map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(images, labels, batch_size):
    """Returns a data set of all pictures in their order; the last batch may be smaller."""
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch_size)
