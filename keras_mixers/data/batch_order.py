"""Which images are in which batch, in which order: a function of the seed and the step."""

import dataclasses

import tensorflow as tf

from keras_mixers.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of every batch a data set delivers: parts `first` to `first + count - 1`."""

    parts: int = 1
    first: int = 0
    count: int = 1


WHOLE = Share()
"""The share of a single process with a single device."""


def steps_per_epoch(pictures, batch_size):
    """Returns the number of whole batches in `pictures`.

    Raises:
        UsageError: `batch_size` is not from 1 to `pictures`.
    """
    if not 1 <= batch_size <= pictures:
        raise UsageError(
            "--batch-size (`batch_size`) must be from 1 to the number of training pictures, "
            f"{pictures}. Received: {batch_size}"
        )
    return pictures // batch_size


def part_size(config, share):
    micro, steps = config.micro_batch_size, config.gradient_accumulation_steps
    if micro % share.parts:
        raise UsageError(
            f"--batch-size must be a multiple of {share.parts * steps}: "
            f"{share.parts} devices or hosts share each of {steps} parts. "
            f"Received: {config.batch_size}"
        )
    return micro // share.parts


def check_pairs(config, share):
    if part_size(config, share) % 2:
        whole = 2 * share.parts * config.gradient_accumulation_steps
        raise UsageError(
            f"--batch-size must be a multiple of {whole}: images are mixed, and unreadable ones "
            "replaced, in pairs, which no device may part. "
            f"Received: {config.batch_size}"
        )


def training_parts(pictures, config, start_step, share):
    """Running numbers and indices of the pictures of each part, in the order of delivery.

    Each epoch is another permutation of the pictures.
    """
    steps = steps_per_epoch(pictures, config.batch_size)
    per_step, size = config.gradient_accumulation_steps * share.count, part_size(config, share)
    # Repeats of a picture are as far from each other as a batch allows.
    distinct = -(-config.batch_size // config.repeated_augmentation)

    def parts_of(epoch):
        # The complement of the seed: what is drawn for a picture is drawn from the seed itself.
        seed = tf.stack([tf.constant(~config.seed, tf.int64), epoch])
        everything = tf.range(pictures, dtype=tf.int64)
        order = tf.random.experimental.stateless_shuffle(everything, seed)

        def part(number):
            step, rest = number // per_step, number % per_step
            places = _part_start(rest, size, share) + tf.range(size, dtype=tf.int64)
            numbers = (epoch * steps + step) * config.batch_size + places
            # Rotated by one with each repeat: other neighbours to be mixed with.
            chosen = (places + places // distinct) % distinct
            return numbers, tf.gather(order, step * distinct + chosen)

        first = tf.maximum(start_step - epoch * steps, 0)
        return tf.data.Dataset.range(first * per_step, steps * per_step).map(part)

    return tf.data.Dataset.range(start_step // steps, tf.int64.max).flat_map(parts_of)


def evaluation_parts(pictures, config, share):
    """As `_training_parts`, of every picture once; past the last one, it is repeated."""
    size = part_size(config, share)
    batches = -(-pictures // config.micro_batch_size)

    def part(number):
        numbers = _part_start(number, size, share) + tf.range(size, dtype=tf.int64)
        return numbers, tf.minimum(numbers, pictures - 1)

    return tf.data.Dataset.range(batches * share.count).map(part)


def _part_start(number, size, share):
    """Place of the first picture of a share's `number`-th part."""
    micro, part = number // share.count, number % share.count + share.first
    return (micro * share.parts + part) * size


def seed_of(config, number):
    """Seed of shape `(2,)` of the picture with this running number."""
    return tf.stack([tf.constant(config.seed, tf.int64), number])
