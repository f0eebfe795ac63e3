"""Settings that do not suit the data are made to, and a line says how."""

import dataclasses
import logging

from keras_mixers.data import sources

_log = logging.getLogger("keras_mixers")


def to_splits(config):
    """Returns `config` with a part of the training images to validate on, where there is no other.

    That is a fifth, of each class where `config.data` is a folder of images.
    """
    usual = (config.train_split, config.validation_split) == ("train", "validation")
    if not usual or not sources.lacks_validation(config.data, *config.reading):
        return config
    _log.warning(
        "--data %s has no split to validate on: a fifth of the training images is held out "
        "(--train-split train[:80%%] --validation-split train[80%%:])",
        config.data,
    )
    return dataclasses.replace(config, train_split="train[:80%]", validation_split="train[80%:]")


def to_size(config, images):
    """Returns `config` with a batch and a warm-up that are not longer than the training.

    Args:
        config: A `TrainingConfig`.
        images: Number of training images.
    """
    changes = {}
    if 2 <= images < config.batch_size:
        parts = config.gradient_accumulation_steps
        if images < 2 * parts:
            changes["gradient_accumulation_steps"] = parts = 1
        changes["batch_size"] = images // (2 * parts) * 2 * parts
        _log.warning(
            "--batch-size %d is more than the %d training images: taken as %d",
            *(config.batch_size, images, changes["batch_size"]),
        )
    if config.warmup_epochs >= config.epochs:
        changes["warmup_epochs"] = config.epochs / 4
        _log.warning(
            "--warmup-epochs %g is not less than --epochs %d: taken as a quarter of them, %g",
            *(config.warmup_epochs, config.epochs, changes["warmup_epochs"]),
        )
    return dataclasses.replace(config, **changes)
