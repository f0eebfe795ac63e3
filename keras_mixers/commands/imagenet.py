"""Trains a model on ImageNet or on any other set of pictures, and loses nothing when cut off.

The same command, started again, goes on from the newest checkpoint of its run folder.

Exit status: 0 at the end of the training; 1 when it cannot go on (NaN loss, full disk, too many
unreadable pictures); 2 when the command, the data or the devices cannot be used as asked for; 75
when it was asked to stop (SIGTERM, SIGINT) or lost a device or a host: start it again; 130 when
SIGINT ended it at once.

Examples:
  keras-mixers imagenet --recipe mixer_b16 --tpu
  keras-mixers imagenet --recipe smlpnet_t --data ~/pictures --out runs/mine
  keras-mixers imagenet --data ~/pictures --preview batch.png
  keras-mixers imagenet --config runs/mine/config.json --out runs/again
"""

import argparse
import sys

import keras_mixers.training  # noqa: F401  (sets what TensorFlow reads when it is imported)
from keras_mixers.commands import cli, training


def read_command(argv):
    """Returns the `TrainingConfig` of a command line and where a preview is to go, or None."""
    from keras_mixers import files, presets
    from keras_mixers.errors import UsageError
    from keras_mixers.training import config as settings

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
    if chosen.config is not None:
        default = settings.load(files.named("--config", chosen.config))
    else:
        default = presets.load("mixer_b16" if chosen.recipe is None else chosen.recipe)
    description = (
        f"{__doc__}\n"
        "Every setting below overrides the recipe; the defaults shown are those of the recipe."
    )
    own = {
        "recipe": f"Settings to start from, mixer_b16 if not given: {', '.join(presets.names())}.",
        "config": "Settings to start from: the config.json of a run.",
        "preview": "PNG into which one augmented batch is drawn, instead of training.",
    }
    config = training.settings_of(rest, "keras-mixers imagenet", description, default, own)
    return config, chosen.preview


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="keras-mixers imagenet")
    cli.require(parser, "recipes", ("etils", "tyro"))

    def work():
        config, preview = read_command(argv)
        cli.prepare(parser, "recipes", training.MODULES, backends=("tensorflow", "jax"))
        if preview:
            _write_preview(config, preview)
        else:
            run(config)

    return training.status_of(work, parser.prog)


def run(config):
    """Trains as `config` says; prints the result and writes it into the run folder."""
    training.train(config)


def _write_preview(config, path):
    from keras_mixers import files
    from keras_mixers.data.unreadable_images import UnreadableImages
    from keras_mixers.errors import UsageError
    from keras_mixers.training import plots

    if not path.lower().endswith(".png"):
        raise UsageError(f"--preview must name a PNG, such as batch.png. Received: {path}")
    path = files.named("--preview", path)
    pictures, _ = training.open_data(config)
    try:
        _, bad = plots.preview(pictures, config, path)
    except OSError as error:
        raise UsageError(f"--preview must be a file that can be written. {error}") from None
    UnreadableImages(config.max_unreadable).note(
        pictures,
        bad,
        config.train_split,
        say=lambda sentence: print(sentence, file=sys.stderr),
        write=lambda line: None,
    )
    print(path)


def as_process(argv):
    """Runs the command as a process of its own, to its end."""
    training.leave(lambda: main(argv), "keras-mixers imagenet")
