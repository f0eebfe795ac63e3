"""Which images are in which batch, in which order: a function of the seed and the step."""

import dataclasses

import tensorflow as tf

from keras_mixers.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Shard:
    """Which part of every batch a data set delivers: parts `first` to `first + count - 1`."""

    parts: int = 1
    first: int = 0
    count: int = 1


WHOLE = Shard()
"""The shard of a single process with a single device."""


def steps_per_epoch(images, batch_size):
    """Returns the number of whole batches in `images`.

    Raises:
        UsageError: `batch_size` is not from 1 to `images`.
    """
    if not 1 <= batch_size <= images:
        raise UsageError(
            "--batch-size (`batch_size`) must be from 1 to the number of training images, "
            f"{images}. Received: {batch_size}"
        )
    return images // batch_size


def part_size(config, shard):
    micro, steps = config.micro_batch_size, config.gradient_accumulation_steps
    if micro % shard.parts:
        raise UsageError(
            f"--batch-size must be a multiple of {shard.parts * steps}: "
            f"{shard.parts} devices or hosts share each of {steps} parts. "
            f"Received: {config.batch_size}"
        )
    return micro // shard.parts


def check_pairs(config, shard):
    if part_size(config, shard) % 2:
        whole = 2 * shard.parts * config.gradient_accumulation_steps
        raise UsageError(
            f"--batch-size must be a multiple of {whole}: images are mixed, and unreadable ones "
            "replaced, in pairs, which no device may part. "
            f"Received: {config.batch_size}"
        )


def training_parts(images, config, start_step, shard):
    """Running numbers and indices of the images of each part, in the order of delivery.

    Each epoch is another permutation of the images.
    """
    steps = steps_per_epoch(images, config.batch_size)
    per_step, size = config.gradient_accumulation_steps * shard.count, part_size(config, shard)
    # Repeats of an image are as far from each other as a batch allows.
    distinct = -(-config.batch_size // config.repeated_augmentation)

    def parts_of(epoch):
        # The complement of the seed: what is drawn for an image is drawn from the seed itself.
        seed = tf.stack([tf.constant(~config.seed, tf.int64), epoch])
        everything = tf.range(images, dtype=tf.int64)
        order = tf.random.experimental.stateless_shuffle(everything, seed)

        def part(number):
            step, rest = number // per_step, number % per_step
            places = _part_start(rest, size, shard) + tf.range(size, dtype=tf.int64)
            numbers = (epoch * steps + step) * config.batch_size + places
            # Rotated by one with each repeat: other neighbors to be mixed with.
            chosen = (places + places // distinct) % distinct
            return numbers, tf.gather(order, step * distinct + chosen)

        first = tf.maximum(start_step - epoch * steps, 0)
        return tf.data.Dataset.range(first * per_step, steps * per_step).map(part)

    return tf.data.Dataset.range(start_step // steps, tf.int64.max).flat_map(parts_of)


def evaluation_parts(images, config, shard):
    """As `_training_parts`, of every image once; past the last one, it is repeated."""
    size = part_size(config, shard)
    batches = -(-images // config.micro_batch_size)

    def part(number):
        numbers = _part_start(number, size, shard) + tf.range(size, dtype=tf.int64)
        return numbers, tf.minimum(numbers, images - 1)

    return tf.data.Dataset.range(batches * shard.count).map(part)


def _part_start(number, size, shard):
    """Place of the first image of a shard's `number`-th part."""
    micro, part = number // shard.count, number % shard.count + shard.first
    return (micro * shard.parts + part) * size


def seed_of(config, number):
    """Seed of shape `(2,)` of the image with this running number."""
    return tf.stack([tf.constant(config.seed, tf.int64), number])
