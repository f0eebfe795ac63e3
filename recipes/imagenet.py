"""Trains a model on ImageNet or on any other set of pictures, and loses nothing when cut off.

The same command, started again, goes on from the newest checkpoint of its run folder.

Exit status: 0 at the end of the training; 1 when it cannot go on (NaN loss, full disk, too many
unreadable pictures); 2 when the command, the data or the devices cannot be used as asked for; 75
when it was asked to stop (SIGTERM, SIGINT) or lost a device or a host: start it again; 130 when
SIGINT ended it at once.

Examples:
  python recipes/imagenet.py --recipe mixer_b16 --tpu
  python recipes/imagenet.py --recipe smlpnet_t --data ~/pictures --out runs/mine
  python recipes/imagenet.py --data ~/pictures --preview batch.png
  python recipes/imagenet.py --config runs/mine/config.json --out runs/again
"""

import argparse
import contextlib
import importlib
import os
import pathlib
import signal
import sys
import time

if __package__ is None:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import recipes.training  # noqa: F401  (sets what TensorFlow reads when it is imported)
from recipes.training.errors import Preempted
from tools import cli

_MODULES = ("etils", "matplotlib", "tabulate", "tensorflow_datasets", "tqdm", "tyro")

_NO_DATA = """\
{error}

Give the training pictures in one of three ways:

  a folder      --data FOLDER, with one folder per class:
                  FOLDER/train/<class>/*.jpg (or .jpeg, .png)
                  FOLDER/validation/<class>/*.jpg
  shards        --data FOLDER, as this makes them of such a folder (faster on disks and buckets):
                  python tools/make_shards.py PICTURES FOLDER
  tensorflow-   --data NAME --data-dir FOLDER_OR_BUCKET, after tensorflow-datasets has prepared
  datasets      the set there. For ImageNet (the default, imagenet2012), put
                ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from https://image-net.org in
                ~/tensorflow_datasets/downloads/manual and run:
                  tfds build imagenet2012

To try the command without ImageNet:
  python benchmarks/jpeg_digits.py runs/jpeg_digits
  python recipes/imagenet.py --recipe digits_mixer --data runs/jpeg_digits/shards
"""


def read_command(argv):
    """Returns the `TrainingConfig` of a command line and where a preview is to go, or None."""
    import tyro

    from recipes.training import config as settings
    from recipes.training import files
    from recipes.training.errors import UsageError

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--recipe")
    first.add_argument("--config")
    first.add_argument("--preview")
    try:
        chosen, rest = first.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error}") from None
    if chosen.config is not None and chosen.recipe is not None:
        raise UsageError("--config holds all settings of a recipe: leave --recipe out.")
    _check_names(rest)
    names = presets()
    if chosen.config is not None:
        default = settings.load(files.named("--config", chosen.config))
    else:
        default = preset("mixer_b16" if chosen.recipe is None else chosen.recipe)
    description = (
        f"{__doc__}\nAlso:\n"
        f"  --recipe NAME      settings to start from: {', '.join(names)}\n"
        "                     (default: mixer_b16)\n"
        "  --config FILE      settings to start from: the config.json of a run\n"
        "  --preview FILE     write a picture of one augmented batch (PNG), and stop\n\n"
        "Every setting below overrides the recipe; the defaults shown are those of the recipe."
    )
    config = tyro.cli(
        settings.TrainingConfig,
        prog="recipes/imagenet.py",
        description=description,
        default=default,
        args=rest,
    )
    settings.check(config)
    return config, chosen.preview


def _check_names(arguments):
    """Raises a `UsageError` where a flag is none; suggests the nearest, or what it abbreviates."""
    import dataclasses

    from recipes.training import config as settings
    from recipes.training.errors import UsageError, did_you_mean

    fields = dataclasses.fields(settings.TrainingConfig)
    flags = ["--" + field.name.replace("_", "-") for field in fields]
    flags += ["--recipe", "--config", "--preview"]
    switches = ["--no-" + field.name.replace("_", "-") for field in fields if field.type is bool]
    initials = {"--" + "".join(word[0] for word in flag[2:].split("-")): flag for flag in flags}
    for argument in arguments:
        given = argument.partition("=")[0]
        flag = given.replace("_", "-")
        if flag.startswith("--") and flag not in {*flags, *switches, "--help"}:
            meant = did_you_mean(initials.get(flag, flag), flags, likeness=0.0)
            raise UsageError(f"{given} is no setting.{meant}")


def presets():
    """Returns the names of the recipes in recipes/presets."""
    folder = pathlib.Path(__file__).parent / "presets"
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def preset(name):
    """Returns the `TrainingConfig` of a recipe, whose run folder is named after it."""
    import dataclasses

    from recipes.training.errors import UsageError, did_you_mean

    if name not in presets():
        raise UsageError(
            f"--recipe must be one of {', '.join(presets())}. Received: {name}."
            f"{did_you_mean(name, presets())}"
        )
    config = importlib.import_module(f"recipes.presets.{name}").CONFIG
    return dataclasses.replace(config, out=f"runs/{name}")


def open_data(config):
    """Returns the training and the validation pictures.

    Raises:
        UsageError: There are none; one screen says what to put where.
    """
    import tensorflow as tf

    from recipes.training.data import PictureData
    from recipes.training.errors import UsageError
    from recipes.training.sources import open_source

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


def run(config):
    """Trains as `config` says; prints the result and writes it into the run folder."""
    from recipes.training import data, devices, files, model, run_folder

    model.check(config)
    folder = files.named("--out", config.out)
    training, validation = open_data(config)
    data.steps_per_epoch(len(training), config.batch_size)  # Refused before anything is written.
    where = devices.connect(config)
    with run_folder.alone(folder) if where.is_chief else contextlib.nullcontext():
        _run(config, training, validation, where, folder)


def _run(config, training, validation, where, folder):
    from recipes.training import journal, model, report, run_folder, trainer

    if where.is_chief:
        begins = run_folder.prepare(folder, config)
        run_folder.save_class_names(folder, training.class_names)
        print(
            f"{config.model} on {len(training):,} pictures ({config.train_split}) of "
            f"{training.classes} classes, validated on {len(validation):,} "
            f"({config.validation_split}); {where.about}; run folder {folder}",
            file=sys.stderr,
        )
        if begins:
            images, _ = report.preview(training, config, folder / "augmented.png")
            journal.show_batch(folder, images)
    start = time.monotonic()
    engine, history = trainer.train(
        config,
        lambda: model.build(config, training.classes),
        training,
        validation,
        where.make_engine,
        folder,
        name=config.model,
    )
    if engine.is_chief:
        report.write_results(engine.model, history, time.monotonic() - start, folder)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="recipes/imagenet.py")
    cli.require(parser, "recipes", ("etils", "tyro"))
    from recipes.training.errors import RunError, first_line

    try:
        config, preview = read_command(argv)
        cli.prepare(parser, "recipes", _MODULES, backends=("tensorflow", "jax"))
        if preview:
            _write_preview(config, preview)
        else:
            run(config)
    except RunError as error:
        print(f"recipes/imagenet.py: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        reason = first_line(error)
        print(f"recipes/imagenet.py: a file cannot be written or read: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("recipes/imagenet.py: stopped by SIGINT", file=sys.stderr)
        return 130
    return 0


def _write_preview(config, path):
    from recipes.training import files, report
    from recipes.training.bad_pictures import BadPictures
    from recipes.training.errors import UsageError

    if not path.lower().endswith(".png"):
        raise UsageError(f"--preview must name a PNG, such as batch.png. Received: {path}")
    path = files.named("--preview", path)
    pictures, _ = open_data(config)
    try:
        _, bad = report.preview(pictures, config, path)
    except OSError as error:
        raise UsageError(f"--preview must be a file that can be written. {error}") from None
    BadPictures(config.max_bad_images).note(
        pictures,
        bad,
        config.train_split,
        say=lambda sentence: print(sentence, file=sys.stderr),
        write=lambda line: None,
    )
    print(path)


def _stop_at_once(number, frame):
    """SIGTERM before or after the training loop, which has its own way: nothing is half written."""
    print(
        "recipes/imagenet.py: Stopped by SIGTERM before or after the training steps; start the "
        "same command again.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(Preempted.status)


def _leave(status):
    """Ends the process; after a failure at once, as JAX would wait minutes for lost processes."""
    sys.stdout.flush()
    sys.stderr.flush()
    (os._exit if status else sys.exit)(status)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop_at_once)
    _leave(main())
