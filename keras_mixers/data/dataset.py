"""From images to batches, where step n is a function of (seed, n) and nothing else.

A training step's images, their order and what is done to each are drawn from the seed and the
image's running number. So any step can be the first, and it does not matter how many workers
prepare a batch or how many devices share it.
"""

import dataclasses
import os

import tensorflow as tf

from keras_mixers import files
from keras_mixers.data import augmentation, chunks, mixup
from keras_mixers.data.batch_order import (
    WHOLE,
    check_pairs,
    evaluation_parts,
    seed_of,
    training_parts,
)
from keras_mixers.data.rand_augment import DEIT_RECIPE, MIXER_RECIPE, rand_augment
from keras_mixers.errors import UsageError, first_line, some
from keras_mixers.preprocessing import cropping, resampling

_READABLE = -1

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

    multi_label = False

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
            shares = _smooth(tf.gather(labels, indices), self.classes, config.label_smoothing)
            return batch, shares, tf.fill(numbers.shape, _READABLE)

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
    """Encoded images of a source, cropped, augmented and batched as a `TrainingConfig` says.

    Args:
        source: What `sources.open_source` returns.
        classes: Names of the classes, in the order of the labels; None for the source's own.

    Raises:
        UsageError: The source has a class that is none of `classes`.
    """

    def __init__(self, source, classes=None):
        self._source = source
        self.multi_label = source.multi_label
        """Whether an image may have several labels, or none."""
        self.class_names = tuple(classes or source.classes)
        self.classes = len(self.class_names)
        self._labels = _places(source.classes, self.class_names)
        self._readers = _readers(files.is_remote(source.name(0)))
        self._traced = {}

    def __len__(self):
        return len(self._source)

    def name(self, index):
        """Returns what a person can find image `index` by."""
        return self._source.name(index)

    def file(self, index):
        """Returns the bytes of image `index`."""
        data, _ = self._source.read(tf.constant(index, tf.int64))
        return data.numpy()

    def why_unreadable(self, index, config):
        """Returns the reason why image `index` cannot be used, or "" if it can be.

        Raises:
            tf.errors.OpError: One of `LOST_CONNECTION`: nobody knows.
        """
        try:
            data, _ = self._load(tf.constant(index, tf.int64))
            whole = dataclasses.replace(config.preprocessing, crop_mode="squash")
            cropping.decode_central(data, whole, config.channels, config.max_pixels)
        except LOST_CONNECTION:
            raise
        except (tf.errors.OpError, ValueError) as error:
            return first_line(error)
        return ""

    def image(self, index, config):
        """Returns image `index` as it is evaluated: uint8 of `config.input_shape`."""
        data, _ = self._load(tf.constant(index, tf.int64))
        return _central(data, config).numpy()

    def training_batches(self, config, start_step=0, shard=WHOLE):
        """Returns an endless data set of the batches from `start_step` on.

        Elements come step by step, within a step one for each of the
        `config.gradient_accumulation_steps`, within that one for each part of the `shard`.
        Each is `(images, labels, unreadable)`: uint8 `(part, *config.input_shape)`; float32
        `(part, classes)`, smoothed and mixed; int32 `(part,)`, -1, or the index of an unreadable
        image, which its neighbor replaces; where that is unreadable too, a blank one without a
        label does.
        """

        def prepare(number, index):
            data, label = self._load(index)
            crop_seed, seed = tf.unstack(tf.random.split(seed_of(config, number), 2))
            # What is augmented has colors, also where gray is what is left of them.
            channels = 3 if config.channels == 1 else config.channels
            preparation = config.preprocessing.for_channels(channels)
            image = cropping.random_crop(
                *(data, crop_seed, preparation, config.crop_min_area),
                *(channels, config.max_pixels),
            )
            image = _augment(image, seed, config)
            if config.channels == 1:
                image = tf.image.rgb_to_grayscale(image)
            return image, label, tf.constant(_READABLE), *_draw_mixing(number, config)

        def instead(number, index):
            return *self._blank(config), tf.cast(index, tf.int32), *_draw_mixing(number, config)

        def finish(images, labels, unreadable, weights, boxes):
            images, labels = _replace_unreadable(images, labels, unreadable)
            labels = _smooth(labels, self.classes, config.label_smoothing)
            if config.mixup or config.cutmix:
                images = tf.cast(images, tf.float32)
                images, labels = mixup.mix(images, labels, weights, boxes)
                images = resampling.rounded(images)
            return images, labels, unreadable

        parts = training_parts(len(self), config, start_step, shard)
        check_pairs(config, shard)
        functions = self._traced_once("training", config, prepare, instead)
        return chunks.batches(parts, *functions, finish, self._readers)

    def evaluation_batches(self, config, shard=WHOLE):
        """Returns a data set of every image once, in order, centrally cropped.

        Elements are `(images, labels, weights, unreadable)`; weights are 0 for what fills the last
        batch and for images that cannot be read, else 1.
        """

        def prepare(number, index):
            def read():
                data, label = self._load(index)
                return _central(data, config), label

            image, label = tf.cond(number < len(self), read, lambda: self._blank(config))
            return image, label, tf.constant(_READABLE)

        def instead(number, index):
            return *self._blank(config), tf.cast(number, tf.int32)

        def finish(images, labels, unreadable):
            return images, _shares(labels, self.classes), _are_known(labels), unreadable

        parts = evaluation_parts(len(self), config, shard)
        functions = self._traced_once("evaluation", config, prepare, instead)
        return chunks.batches(parts, *functions, finish, self._readers)

    def _traced_once(self, use, config, *functions):
        """Returns functions of one image, traced: a preview's are those of the training."""
        # Which do not know of batches.
        key = use, dataclasses.replace(config, batch_size=1, gradient_accumulation_steps=1)
        if key not in self._traced:
            self._traced[key] = [chunks.traced(function) for function in functions]
        return self._traced[key]

    def _load(self, index):
        """Returns bytes and label, of our classes; raises where it is none of the source's."""
        data, label = self._source.read(index)
        count = len(self._source.classes)
        if self.multi_label:
            if self._labels is not None:
                places = tf.constant(self._labels, tf.int64)[:, None]
                label = tf.scatter_nd(places, label, tf.constant([self.classes], tf.int64))
            return data, tf.ensure_shape(label, (self.classes,))
        why = f"its label must be from 0 to {count - 1}; it is {{}}"
        known = tf.debugging.Assert((label >= 0) & (label < count), [tf.strings.format(why, label)])
        with tf.control_dependencies([] if known is None else [known]):
            if self._labels is not None:
                label = tf.gather(tf.constant(self._labels, tf.int64), label)
            return tf.identity(data), label

    def _blank(self, config):
        """What stands for an image that cannot be read: pixels and no label, -1."""
        label = tf.fill([self.classes], -1.0) if self.multi_label else tf.constant(-1, tf.int64)
        return tf.zeros(config.input_shape, tf.uint8), label


def _readers(is_remote):
    """How many chunks are under way at once: a bucket answers late, and is asked for more."""
    return 64 if is_remote else min(max(2 * (os.cpu_count() or 1), 4), 16)


def _places(theirs, ours):
    """Returns the places of the classes of a source among others, or None where they agree."""
    if tuple(theirs) == ours:
        return None
    place = {name: number for number, name in enumerate(ours)}
    unknown = [name for name in theirs if name not in place]
    if unknown:
        raise UsageError(
            f"--data must have classes of the model's only, {some(ours)}. Received: {some(unknown)}"
        )
    return [place[name] for name in theirs]


def _central(data, config):
    return cropping.decode_central(data, config.preprocessing, config.channels, config.max_pixels)


def _draw_mixing(number, config):
    """How the image with this running number is mixed with its neighbor: `(weight, box)`."""
    if not (config.mixup or config.cutmix):
        return tf.constant(1.0), tf.zeros((4,), tf.int32)
    return mixup.draw_mixing(
        seed_of(config, -1 - number // 2),  # Negative: no image's own seed.
        config.preprocessing.size,
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


def _replace_unreadable(images, labels, unreadable):
    places = tf.range(images.shape[0])
    taken = tf.where(unreadable == _READABLE, places, places ^ 1)
    return tf.cond(
        tf.reduce_all(unreadable == _READABLE),
        lambda: (images, labels),
        lambda: (tf.gather(images, taken), tf.gather(labels, taken)),
    )


def _shares(labels, classes):
    """Labels as float32 `(images, classes)`: 1 for each of an image's; zeros where there is none.

    Args:
        labels: int64 `(images,)`, or of several an image float32 `(images, classes)`; -1 is none.
        classes: Their number.
    """
    return tf.one_hot(labels, classes) if labels.shape.rank == 1 else tf.maximum(labels, 0.0)


def _are_known(labels):
    """1.0 for each image that has been read, else 0.0."""
    return tf.cast((labels if labels.shape.rank == 1 else labels[:, 0]) >= 0, tf.float32)


def _smooth(labels, classes, smoothing):
    """Shares with `smoothing` of them spread: over all classes, or of several over yes and no."""
    spread = smoothing / classes if labels.shape.rank == 1 else smoothing / 2
    known = _are_known(labels)[:, None]
    return _shares(labels, classes) * (1 - smoothing) + known * spread
