"""A training run from beginning to end: data, devices, the loop, and the results in its folder."""

import contextlib
import dataclasses
import sys
import time
import typing

import keras
import tensorflow as tf

from keras_mixers import files
from keras_mixers.data import batch_order, dataset, survey
from keras_mixers.data.sources import open_source
from keras_mixers.errors import UsageError
from keras_mixers.training import (
    adaptation,
    distribution,
    lock,
    logging,
    loop,
    model,
    plots,
    run_folder,
    scores,
)
from keras_mixers.training.config import TrainingConfig

_NO_DATA = """\
{error}

Give the training images in one of three ways:

  a folder      --data FOLDER, with one folder per class:
                  FOLDER/train/<class>/*.jpg (or PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC)
                  FOLDER/validation/<class>/*.jpg
  shards        --data FOLDER, made of such a folder by this command (faster on disks and buckets):
                  keras-mixers make-shards IMAGES FOLDER
  tensorflow-   --data NAME --data-dir FOLDER_OR_BUCKET, after tensorflow-datasets has prepared
  datasets      the set there. For ImageNet (the default, imagenet2012), put
                ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from https://image-net.org in
                ~/tensorflow_datasets/downloads/manual and run:
                  tfds build imagenet2012

To try the command without ImageNet, in a clone of the repository:
  python benchmarks/jpeg_digits.py runs/jpeg_digits
  keras-mixers imagenet --recipe digits_mixer --data runs/jpeg_digits/shards
"""


class Trained(typing.NamedTuple):
    """What `train` returns."""

    model: typing.Any
    """The trained `keras.Model`, on one device."""
    config: TrainingConfig
    """The settings as the run folder has them."""
    training: dataset.ImageData
    validation: dataset.ImageData


def open_data(config):
    """Returns the settings, adapted to the data, the training and the validation images.

    Raises:
        UsageError: There are none; one screen says what to put where.
    """
    try:
        config = adaptation.to_splits(config)
        training = open_source(config.data, config.data_dir, config.train_split, *config.reading)
        validation = open_source(
            config.data, config.data_dir, config.validation_split, *config.reading
        )
    except tf.errors.OpError as error:
        raise UsageError(f"--data {config.data} cannot be read: {error.message}") from None
    except UsageError as error:
        if str(error).startswith("No data"):
            raise UsageError(_NO_DATA.format(error=error)) from None
        raise
    config = adaptation.to_size(config, len(training))
    return config, dataset.ImageData(training), dataset.ImageData(validation, training.classes)


def train(config):
    """Trains as `config` says; prints the result and writes it into the run folder.

    Returns:
        A `Trained`; or None in processes that are not the one that writes and prints.

    Raises:
        RunError: The run cannot begin or go on; `UsageError` where nothing was written.
    """
    distribution.prepare(config)
    folder = files.named("--out", config.out)
    earlier = run_folder.earlier_config(folder)
    config = model.resolved(config, earlier)
    config, training, validation = open_data(config)
    if training.classes < 2:
        raise UsageError(
            "--data must have two classes or more, in a folder each. Received one only: "
            f"{training.class_names[0]}"
        )
    # Refused before anything is written.
    batch_order.steps_per_epoch(len(training), config.batch_size)
    config = _looked_at(config, earlier, training, validation)
    where = distribution.connect(config)
    with lock.locked(folder) if where.is_chief else contextlib.nullcontext():
        return _train(config, training, validation, where, folder)


def _looked_at(config, earlier, training, validation):
    """Returns `config` with what a look at the images says; a run that goes on had it."""
    if earlier is None:
        return survey.look(config, training, validation)
    if config.value_range is None:
        return dataclasses.replace(config, value_range=earlier.value_range)
    return config


def _train(config, training, validation, where, folder):
    begins = run_folder.begins(folder)
    if where.is_chief:
        _announce(config, training, validation, where, folder, begins)
    start = time.monotonic()

    def build():
        if not begins:  # What goes on has its weights in the checkpoint.
            return model.build(config, training.classes)
        return model.build_to_begin(config, training.class_names, warn)

    def on_start():
        if where.is_chief:
            run_folder.save(folder, config, training.class_names)

    engine, history = loop.train(
        config,
        build,
        training,
        validation,
        where.make_engine,
        folder,
        name=config.model,
        on_start=on_start,
    )
    if not engine.is_chief:
        return None
    plots.write_results(engine.model, history, scores.of(config), time.monotonic() - start, folder)
    return Trained(_without_replicas(engine.model, config, training), config, training, validation)


def _without_replicas(trained, config, training):
    """Returns `trained`, or its like on one device: on replicas, Keras predicts a batch by each."""
    if keras.backend.backend() != "tensorflow":
        return trained
    if trained.distribute_strategy is tf.distribute.get_strategy():
        return trained
    copy = model.build(config, training.classes)
    copy.set_weights(trained.get_weights())
    return copy


def _announce(config, training, validation, where, folder, begins):
    """Prints what is trained on what, and draws a batch where the run begins."""
    run_folder.check(folder, config)
    print(
        f"{config.model} on {len(training):,} images ({config.train_split}) of "
        f"{training.classes} classes, validated on {len(validation):,} "
        f"({config.validation_split}); {where.about}; run folder {folder}",
        file=sys.stderr,
    )
    if begins:
        images, _ = plots.preview(training, config, folder / "augmented.png")
        logging.show_batch(folder, images)


def warn(sentence):
    """Prints a sentence where it is in the way of no result."""
    print(sentence, file=sys.stderr)
