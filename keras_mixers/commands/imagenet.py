"""Trains a model on ImageNet or on any other set of images, and can be interrupted at any time.

The same command, started again, goes on from the newest checkpoint of its run folder.

Exit status: 0 at the end of the training; 1 when it cannot go on (NaN loss, full disk, too many
unreadable images); 2 when the command, the data or the devices cannot be used as asked for; 75
when it was asked to stop (SIGTERM, SIGINT) or lost a device or a host: start it again; 130 when
SIGINT ended it at once.

Examples:
  keras-mixers imagenet --recipe mixer_b16 --tpu
  keras-mixers imagenet --recipe smlpnet_t --data ~/images --out runs/mine
  keras-mixers imagenet --data ~/images --preview batch.png
  keras-mixers imagenet --config runs/mine/config.json --out runs/again
"""

import argparse
import dataclasses
import sys

import keras_mixers.training  # noqa: F401  (sets what TensorFlow reads when it is imported)
from keras_mixers import files, presets
from keras_mixers.commands import cli, training
from keras_mixers.errors import UsageError
from keras_mixers.training import config as settings

_PROG = "keras-mixers imagenet"


@dataclasses.dataclass(frozen=True)
class _Command(training.Command):
    """The settings of a run, and what the command itself takes."""

    recipe: str = "mixer_b16"
    """Name of the published settings to start from, one of the recipes listed above."""
    config: str | None = None
    """Path of a run's config.json to start from, in place of a recipe; None for the recipe."""
    preview: str | None = None
    """PNG file to draw one augmented batch to, without training; None for none."""


def read_command(argv):
    """Returns the `TrainingConfig` of a command line and where a preview is to go, or None."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--recipe")
    first.add_argument("--config")
    try:
        chosen, _ = first.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error}") from None
    if chosen.config is not None and chosen.recipe is not None:
        raise UsageError("--config holds all settings of a recipe: leave --recipe out.")
    if chosen.config is not None:
        default = settings.load(files.named("--config", chosen.config))
    else:
        default = presets.load(_Command.recipe if chosen.recipe is None else chosen.recipe)
    description = (
        f"{__doc__}\nRecipes: {', '.join(presets.names())}.\n\n"
        "Every setting below overrides the recipe; the defaults shown are those of the recipe."
    )
    config, given = training.parse(_Command, argv, _PROG, description, default)
    return config, given.preview


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog=_PROG)

    def work():
        config, preview = read_command(argv)
        cli.prepare(parser, cli.TO_TRAIN, backends=("tensorflow", "jax"))
        from keras_mixers.training import run

        if preview:
            _write_preview(config, preview)
        else:
            run.train(config)

    return training.status_of(work, _PROG)


def _write_preview(config, path):
    from keras_mixers.data.unreadable_images import UnreadableImages
    from keras_mixers.training import plots, run

    if not path.lower().endswith(".png"):
        raise UsageError(f"--preview must name a PNG, such as batch.png. Received: {path}")
    path = files.named("--preview", path)
    config, images, _ = run.open_data(config)
    try:
        _, unreadable = plots.preview(images, config, path)
    except OSError as error:
        raise UsageError(f"--preview must be a file that can be written. {error}") from None
    UnreadableImages(config).note(
        images, unreadable, config.train_split, say=run.warn, write=lambda line: None
    )
    print(path)


def as_process(argv):
    """Runs the command as a process of its own, to its end."""
    training.leave(lambda: main(argv), _PROG)
