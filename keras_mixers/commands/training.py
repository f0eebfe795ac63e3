"""What the commands that train share: settings, data, a run from begin to end, its exit status.

Nothing here is imported before it is needed: a command's --help takes no TensorFlow.
"""

import contextlib
import dataclasses
import os
import signal
import sys
import time

from keras_mixers.errors import Preempted, RunError, UsageError, first_line

MODULES = ("etils", "matplotlib", "tabulate", "tensorflow_datasets", "tqdm", "tyro")

_NO_DATA = """\
{error}

Give the training pictures in one of three ways:

  a folder      --data FOLDER, with one folder per class:
                  FOLDER/train/<class>/*.jpg (or .jpeg, .png)
                  FOLDER/validation/<class>/*.jpg
  shards        --data FOLDER, as this makes them of such a folder (faster on disks and buckets):
                  keras-mixers make-shards PICTURES FOLDER
  tensorflow-   --data NAME --data-dir FOLDER_OR_BUCKET, after tensorflow-datasets has prepared
  datasets      the set there. For ImageNet (the default, imagenet2012), put
                ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from https://image-net.org in
                ~/tensorflow_datasets/downloads/manual and run:
                  tfds build imagenet2012

To try the command without ImageNet:
  python benchmarks/jpeg_digits.py runs/jpeg_digits
  keras-mixers imagenet --recipe digits_mixer --data runs/jpeg_digits/shards
"""


def settings_of(arguments, prog, description, default, own):
    """Returns the `TrainingConfig` of a command line.

    tyro ends the command where a flag is unknown, with the ones that are like it.

    Args:
        arguments: Without what the command itself takes.
        prog: Name of the command.
        description: Shown by --help.
        default: `TrainingConfig` that the arguments change.
        own: Dict from the flags that the command itself takes to their help.

    Raises:
        SettingError: A setting is out of range.
    """
    from typing import Annotated

    import tyro

    flags = [
        (name, Annotated[str | None, tyro.conf.arg(help=help_, metavar="VALUE")], None)
        for name, help_ in own.items()
    ]
    command = dataclasses.make_dataclass("Command", [("settings", type(default)), *flags])
    return tyro.cli(
        command,
        prog=prog,
        description=description,
        default=command(default),
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    ).settings


def open_data(config):
    """Returns the training and the validation pictures.

    Raises:
        UsageError: There are none; one screen says what to put where.
    """
    import tensorflow as tf

    from keras_mixers.data.dataset import PictureData
    from keras_mixers.data.sources import open_source

    try:
        training = open_source(config.data, config.data_dir, config.train_split)
        validation = open_source(config.data, config.data_dir, config.validation_split)
    except tf.errors.OpError as error:
        raise UsageError(f"--data {config.data} cannot be read: {error.message}") from None
    except UsageError as error:
        if str(error).startswith("No data"):
            raise UsageError(_NO_DATA.format(error=error)) from None
        raise
    return PictureData(training), PictureData(validation)


def train(config):
    """Trains as `config` says; prints the result and writes it into the run folder.

    Returns:
        The trained model, the settings as the run folder has them, and the validation pictures; or
        None in processes that are not the one that writes and prints.
    """
    from keras_mixers import files
    from keras_mixers.data import batch_order
    from keras_mixers.training import distribution, model, run_folder

    folder = files.named("--out", config.out)
    config = model.settled(config, run_folder.begun(folder))
    training, validation = open_data(config)
    if training.classes < 2:
        raise UsageError(
            "--data must have two classes or more, in a folder each. Received one alone: "
            f"{training.class_names[0]}"
        )
    batch_order.steps_per_epoch(
        len(training), config.batch_size
    )  # Refused before anything is written.
    where = distribution.connect(config)
    with run_folder.alone(folder) if where.is_chief else contextlib.nullcontext():
        return _train(config, training, validation, where, folder)


def _train(config, training, validation, where, folder):
    from keras_mixers.training import logging, loop, model, plots, run_folder

    begins = run_folder.begins(folder)
    if where.is_chief:
        run_folder.check(folder, config)
        print(
            f"{config.model} on {len(training):,} pictures ({config.train_split}) of "
            f"{training.classes} classes, validated on {len(validation):,} "
            f"({config.validation_split}); {where.about}; run folder {folder}",
            file=sys.stderr,
        )
        if begins:
            images, _ = plots.preview(training, config, folder / "augmented.png")
            logging.show_batch(folder, images)
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
    plots.write_results(engine.model, history, time.monotonic() - start, folder)
    return engine.model, config, validation


def warn(sentence):
    """Prints a sentence where it is in the way of no result."""
    print(sentence, file=sys.stderr)


def status_of(work, prog):
    """Calls `work` and returns the command's exit status, after a sentence where it is not 0."""
    try:
        work()
    except RunError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        reason = first_line(error)
        print(f"{prog}: a file cannot be written or read: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: stopped by SIGINT", file=sys.stderr)
        return 130
    return 0


def leave(main, prog):
    """Runs a command as a process of its own, to its end."""

    def stop_at_once(number, frame):
        # Before or after the training loop, which has its own way: nothing is half written.
        print(
            f"{prog}: Stopped by SIGTERM before or after the training steps; start the same "
            "command again.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(Preempted.status)

    signal.signal(signal.SIGTERM, stop_at_once)
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # After a failure at once, as JAX would wait minutes for lost processes.
    (os._exit if status else sys.exit)(status)
