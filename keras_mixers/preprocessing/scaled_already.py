"""Whether images that a model will scale look scaled already: a look at the first of them."""

import sys
import types

import keras
import numpy as np

_LOOKED_AT = 2  # Images of a batch.
_FARTHEST = 4.0  # From 0, of pixels scaled by any usual mean and std.


def looks_scaled(images):
    """Returns whether an array's values are those of scaled images, not of pixels of 0 to 255.

    They have negative ones near 0, or are fractions within [0, 1]. An image of zeros and ones may
    be either.
    """
    if images.dtype.kind in "iub" or not images.size:
        return False
    images = images.astype("float32")
    low, high = float(images.min()), float(images.max())
    if low < 0:
        return low >= -_FARTHEST and high <= _FARTHEST
    return high <= 1 and not np.array_equal(images, np.round(images))


def concrete(images):
    """Returns the first images of a batch as an array; None of what has no values yet.

    That is a symbolic tensor, while a function is traced; or anything that is no batch of images.
    """
    known = isinstance(images, np.ndarray) or hasattr(images, "numpy")
    known = known or type(images).__name__ == "ArrayImpl"  # JAX's; its tracers are of other types.
    if not known or len(images.shape) != 4:
        return None
    first = np.asarray(images[:_LOOKED_AT])
    # NumPy knows bfloat16 as a type of its own.
    return first if first.dtype.kind in "iubf" else first.astype("float32")


def with_a_look(batches, look):
    """Returns what a model is given, so that `look` is called with the first images of it.

    Args:
        batches: An array or tensor, which may be the only item of a dict or list; or a generator,
            `keras.utils.PyDataset` or `tf.data.Dataset` of images, or of tuples that begin with
            them. Anything else is not looked at.
        look: A function of an array or tensor of images.
    """
    if isinstance(batches, types.GeneratorType):
        return _generated(batches, look)
    if isinstance(batches, keras.utils.PyDataset):
        # Another process would get a copy of it, whose line nobody sees.
        return batches if batches.use_multiprocessing else _LookedAt(batches, look)
    if _is_dataset(batches):
        return _of_dataset(batches, look)
    if hasattr(_only(batches), "shape"):
        look(_only(batches))
    return batches


def _only(images):
    """Returns the one input of a model from a dict or list of it; anything else as it is."""
    if isinstance(images, dict):
        images = list(images.values())
    return images[0] if isinstance(images, list) and len(images) == 1 else images


def _images_of(batch):
    return _only(batch[0] if isinstance(batch, tuple) else batch)


def _generated(batches, look):
    for number, batch in enumerate(batches):
        if number == 0:
            look(_images_of(batch))
        yield batch


class _LookedAt(keras.utils.PyDataset):
    """Another one, whose first batch is looked at when it is asked for."""

    def __init__(self, dataset, look):
        super().__init__(dataset.workers, False, dataset.max_queue_size)
        self._dataset, self._look = dataset, look

    def __len__(self):
        return len(self._dataset)

    @property
    def num_batches(self):
        return self._dataset.num_batches

    def __getitem__(self, index):
        batch = self._dataset[index]
        if index == 0:
            self._look(_images_of(batch))
        return batch

    def on_epoch_begin(self):
        self._dataset.on_epoch_begin()

    def on_epoch_end(self):
        self._dataset.on_epoch_end()


def _is_dataset(batches):
    tensorflow = sys.modules.get("tensorflow")  # There is none without it.
    return tensorflow is not None and isinstance(batches, tensorflow.data.Dataset)


def _of_dataset(dataset, look):
    """Nothing of the dataset is taken out beforehand: it may not give it twice."""
    import tensorflow as tf

    spec = dataset.element_spec
    images = _images_of(spec)
    is_one = isinstance(images, tf.TensorSpec) and images.dtype.is_floating
    # With several devices, its parts may run on machines that do not know this function. A None
    # cannot be passed on.
    has_none = any(isinstance(part, tf.NoneTensorSpec) for part in tf.nest.flatten(spec))
    if not is_one or has_none or tf.distribute.has_strategy():
        return dataset

    def call(images):
        look(images)
        return np.int64(0)

    def looked_at(number, batch):
        first = _images_of(batch)[:_LOOKED_AT]
        is_first = tf.equal(number, 0)
        done = tf.cond(
            is_first,
            lambda: tf.numpy_function(call, [tf.cast(first, tf.float32)], tf.int64),
            lambda: tf.constant(0, tf.int64),
        )
        with tf.control_dependencies([done]):
            return tf.nest.map_structure(tf.identity, batch)

    return dataset.enumerate().map(looked_at)
