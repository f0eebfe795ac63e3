"""From images to batches, where step n is a function of (seed, n) and nothing else.

A training step's images, their order and what is done to each are drawn from the seed and the
image's running number. So any step can be the first, and it does not matter how many workers
prepare a batch or how many devices share it.
"""

import tensorflow as tf

from keras_mixers import files
from keras_mixers.data import augmentation, mixup
from keras_mixers.data.batch_order import (
    WHOLE,
    check_pairs,
    evaluation_parts,
    seed_of,
    training_parts,
)
from keras_mixers.data.rand_augment import DEIT_RECIPE, MIXER_RECIPE, rand_augment
from keras_mixers.preprocessing import cropping

_READABLE = -1
# AutoGraph would rewrite what data sets call, for a second or so of each start.
_as_it_is = tf.autograph.experimental.do_not_convert
_LARGEST_CHUNK = 32
_NUMBER = tf.TensorSpec((), tf.int64)

LOST_CONNECTION = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
)
"""What TensorFlow raises when a host, or where the data is, does not answer."""


class ArrayData:
    """Images in memory, as `(images, labels)`, with a way of its own of augmenting a batch.

    Args:
        images: float32 array of shape `(images, height, width, channels)`.
        labels: int array of shape `(images,)`.
        classes: Number of classes.
        augment: `None`, or a function of `(images, seed)`, where `seed` is a pair of integers to
            draw from, that returns images of the same shape. It sees a device's part of the batch.
    """

    def __init__(self, images, labels, classes, augment=None):
        self._images, self._labels, self._augment = images, labels, augment
        self.classes, self.class_names = classes, tuple(map(str, range(classes)))

    def __len__(self):
        return len(self._images)

    def name(self, index):
        return f"image {index}"

    def training_batches(self, config, start_step=0, shard=WHOLE):
        """Returns what `ImageData.training_batches` does."""
        images, labels = tf.constant(self._images), tf.constant(self._labels)

        def load(numbers, indices):
            batch = tf.gather(images, indices)
            if self._augment is not None:
                batch = self._augment(batch, seed_of(config, numbers[0]))
            one_hot = _smooth(tf.gather(labels, indices), self.classes, config.label_smoothing)
            return batch, one_hot, tf.fill(numbers.shape, _READABLE)

        parts = training_parts(len(self), config, start_step, shard)
        return parts.map(load, tf.data.AUTOTUNE).prefetch(2)

    def evaluation_batches(self, config, shard=WHOLE):
        """Returns what `ImageData.evaluation_batches` does."""
        images, labels = tf.constant(self._images), tf.constant(self._labels)

        def load(numbers, indices):
            weights = tf.cast(numbers < len(self), tf.float32)
            one_hot = tf.one_hot(tf.gather(labels, indices), self.classes)
            return tf.gather(images, indices), one_hot, weights, tf.fill(numbers.shape, _READABLE)

        return evaluation_parts(len(self), config, shard).map(load).prefetch(2)


class ImageData:
    """Encoded images of a source, cropped, augmented and batched as a `TrainingConfig` says."""

    def __init__(self, source):
        self._source = source
        self.class_names = source.classes
        self.classes = len(source.classes)
        # A bucket answers late, so that it is asked for more at once.
        self._readers = 64 if files.is_remote(source.name(0)) else 16

    def __len__(self):
        return len(self._source)

    def name(self, index):
        """Returns what a person can find image `index` by."""
        return self._source.name(index)

    def why_unreadable(self, index):
        """Returns the reason why image `index` cannot be used, or "" if it can be.

        Raises:
            tf.errors.OpError: One of `LOST_CONNECTION`: nobody knows.
        """
        try:
            data, _ = self._load(tf.constant(index, tf.int64))
            cropping.decode(data)
        except LOST_CONNECTION:
            raise
        except (tf.errors.OpError, ValueError) as error:
            return _said(error)
        return ""

    def image(self, index, config):
        """Returns image `index` as it is evaluated: uint8 of shape `(size, size, 3)`."""
        data, _ = self._load(tf.constant(index, tf.int64))
        return cropping.decode_central(data, config.preprocessing).numpy()

    def training_batches(self, config, start_step=0, shard=WHOLE):
        """Returns an endless data set of the batches from `start_step` on.

        Elements come step by step, within a step one for each of the
        `config.gradient_accumulation_steps`, within that one for each part of the `shard`.
        Each is `(images, labels, unreadable)`: uint8 `(part, size, size, 3)`; float32
        `(part, classes)`, smoothed and mixed; int32 `(part,)`, -1, or the index of an unreadable
        image, which its neighbor replaces; where that is unreadable too, a blank one without a
        label does.
        """

        def prepare(number, index):
            data, label = self._load(index)
            crop_seed, seed = tf.unstack(tf.random.split(seed_of(config, number), 2))
            image = _augment(
                cropping.random_crop(data, crop_seed, config.preprocessing, config.crop_min_area),
                seed,
                config,
            )
            return image, label, tf.constant(_READABLE), *_draw_mixing(number, config)

        def instead(number, index):
            return *_blank(config), tf.cast(index, tf.int32), *_draw_mixing(number, config)

        def finish(images, labels, unreadable, weights, boxes):
            images, labels = _replace_unreadable(images, labels, unreadable)
            labels = _smooth(labels, self.classes, config.label_smoothing)
            if config.mixup or config.cutmix:
                images = tf.cast(images, tf.float32)
                images, labels = mixup.mix(images, labels, weights, boxes)
                images = cropping.rounded(images)
            return images, labels, unreadable

        parts = training_parts(len(self), config, start_step, shard)
        check_pairs(config, shard)
        return _batches(parts, prepare, instead, finish, self._readers)

    def evaluation_batches(self, config, shard=WHOLE):
        """Returns a data set of every image once, in order, centrally cropped.

        Elements are `(images, labels, weights, unreadable)`; weights are 0 for what fills the last
        batch and for images that cannot be read, else 1.
        """

        def prepare(number, index):
            def read():
                data, label = self._load(index)
                return cropping.decode_central(data, config.preprocessing), label

            image, label = tf.cond(number < len(self), read, lambda: _blank(config))
            return image, label, tf.constant(_READABLE)

        def instead(number, index):
            return *_blank(config), tf.cast(number, tf.int32)

        def finish(images, labels, unreadable):
            weights = tf.cast(labels >= 0, tf.float32)
            return images, tf.one_hot(labels, self.classes), weights, unreadable

        parts = evaluation_parts(len(self), config, shard)
        return _batches(parts, prepare, instead, finish, self._readers)

    def _load(self, index):
        """Returns bytes and label; raises where the label is not one of the classes."""
        data, label = self._source.read(index)
        why = f"its label must be from 0 to {self.classes - 1}; it is {{}}"
        known = tf.debugging.Assert(
            (label >= 0) & (label < self.classes), [tf.strings.format(why, label)]
        )
        with tf.control_dependencies([] if known is None else [known]):
            return tf.identity(data), label


def _said(error):
    """What matters of TensorFlow's message, which quotes what an assertion says."""
    said = str(error).split("Summarized data: b")[-1].split(" [Op:")[0]
    return said.splitlines()[0].split("}} ")[-1].strip("'\"")


def _draw_mixing(number, config):
    """How the image with this running number is mixed with its neighbor: `(weight, box)`."""
    if not (config.mixup or config.cutmix):
        return tf.constant(1.0), tf.zeros((4,), tf.int32)
    return mixup.draw_mixing(
        seed_of(config, -1 - number // 2),  # Negative: no image's own seed.
        (config.image_size, config.image_size),
        config.mixup,
        config.cutmix,
        own_share_at_least_half=config.mixup_keeps_half,
    )


def _augment(image, seed, config):
    flip_seed, rand_seed, jitter_seed, erasing_seed = tf.unstack(tf.random.split(seed, 4))
    if config.flip:
        image = augmentation.flip(image, flip_seed)
    if config.randaugment != "none":
        recipe = {"fixed": MIXER_RECIPE, "increasing": DEIT_RECIPE}[config.randaugment]
        strength = {
            "layers": config.randaugment_layers,
            "magnitude": config.randaugment_magnitude,
        }
        image = rand_augment(image, rand_seed, **recipe | strength)
    if config.color_jitter:
        image = augmentation.color_jitter(image, jitter_seed, config.color_jitter)
    if config.erasing:
        image = augmentation.random_erasing(image, erasing_seed, config.erasing)
    return image


def _blank(config):
    """What stands for an image that cannot be read: pixels and no label."""
    return tf.zeros((config.image_size, config.image_size, 3), tf.uint8), tf.constant(-1, tf.int64)


def _batches(parts, prepare, instead, finish, readers):
    """Maps the images of every part by `prepare`, or `instead` where that fails; joins them.

    Images are prepared and finished by the chunk, which costs less than one by one; only where a
    chunk fails are its images prepared one by one, to find those that do. `readers` chunks are
    under way at once, at most.
    """
    (size,) = parts.element_spec[0].shape
    chunk = _chunk_size(size)
    function = tf.function(instead, autograph=False)
    outputs = function.get_concrete_function(_NUMBER, _NUMBER).structured_outputs
    kinds = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), outputs)

    def one(number, index):
        single = tf.data.Dataset.from_tensors((number, index))
        return single.map(prepare).ignore_errors().concatenate(single.map(instead)).take(1)

    def whole(numbers, indices):
        # A loop, because a graph with `chunk` times the operations takes a minute to start.
        images = (numbers, indices)
        return tf.map_fn(lambda image: prepare(*image), images, fn_output_signature=kinds)

    @_as_it_is
    def chunk_of(*images):
        at_once = tf.data.Dataset.from_tensors(images).map(whole).ignore_errors()
        one_by_one = tf.data.Dataset.from_tensor_slices(images).flat_map(one)
        return at_once.concatenate(one_by_one.batch(chunk, drop_remainder=True)).take(1)

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
    )


def _chunk_size(size):
    """The largest divisor from 2 to 32; even where `size` is, so that no pair is parted."""
    divisors = [d for d in range(2, _LARGEST_CHUNK + 1) if size % d == 0]
    even = [d for d in divisors if d % 2 == 0]
    return max(even or divisors or [size])


def _replace_unreadable(images, labels, unreadable):
    places = tf.range(images.shape[0])
    taken = tf.where(unreadable == _READABLE, places, places ^ 1)
    return tf.cond(
        tf.reduce_all(unreadable == _READABLE),
        lambda: (images, labels),
        lambda: (tf.gather(images, taken), tf.gather(labels, taken)),
    )


def _smooth(labels, classes, smoothing):
    """One-hot labels with `smoothing` of them spread over all classes; -1 becomes zeros."""
    one_hot = tf.one_hot(labels, classes)
    known = tf.cast(labels >= 0, tf.float32)[:, None]
    return one_hot * (1 - smoothing) + known * (smoothing / classes)
