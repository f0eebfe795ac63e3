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
import importlib
import pathlib
import sys

if __package__ is None:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import recipes.training  # noqa: F401  (sets what TensorFlow reads when it is imported)
from recipes.training import command
from tools import cli


def read_command(argv):
    """Returns the `TrainingConfig` of a command line and where a preview is to go, or None."""
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
    if chosen.config is not None:
        default = settings.load(files.named("--config", chosen.config))
    else:
        default = preset("mixer_b16" if chosen.recipe is None else chosen.recipe)
    description = (
        f"{__doc__}\nAlso:\n"
        f"  --recipe NAME      settings to start from: {', '.join(presets())}\n"
        "                     (default: mixer_b16)\n"
        "  --config FILE      settings to start from: the config.json of a run\n"
        "  --preview FILE     write a picture of one augmented batch (PNG), and stop\n\n"
        "Every setting below overrides the recipe; the defaults shown are those of the recipe."
    )
    flags = ("--recipe", "--config", "--preview")
    config = command.settings_of(rest, "recipes/imagenet.py", description, default, flags)
    return config, chosen.preview


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


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="recipes/imagenet.py")
    cli.require(parser, "recipes", ("etils", "tyro"))

    def work():
        config, preview = read_command(argv)
        cli.prepare(parser, "recipes", command.MODULES, backends=("tensorflow", "jax"))
        if preview:
            _write_preview(config, preview)
        else:
            run(config)

    return command.status_of(work, parser.prog)


def run(config):
    """Trains as `config` says; prints the result and writes it into the run folder."""
    command.train(config)


def _write_preview(config, path):
    from recipes.training import files, report
    from recipes.training.bad_pictures import BadPictures
    from recipes.training.errors import UsageError

    if not path.lower().endswith(".png"):
        raise UsageError(f"--preview must name a PNG, such as batch.png. Received: {path}")
    path = files.named("--preview", path)
    pictures, _ = command.open_data(config)
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


if __name__ == "__main__":
    command.leave(main, "recipes/imagenet.py")
