"""The options that say which images a model is given, and how they are prepared."""

import json

from keras_mixers import files
from keras_mixers.errors import UsageError
from keras_mixers.preprocessing import CROP_MODES, INTERPOLATIONS

DIGITS = "digits"
# Those of `TrainingConfig`, written again so that --help needs no pydantic; a test compares them.
DEFAULTS = {
    "data_dir": "~/tensorflow_datasets",
    "mean": (0.5,),
    "std": (0.5,),
    "interpolation": "bilinear",
    "eval_crop": 0.875,
    "crop_mode": "center",
    "max_unreadable": None,
    "max_megapixels": 400.0,
}
# What a config.json of timm or transformers has, and a run's has not.
_OF_OTHER_TOOLS = {"architecture", "architectures", "model_type", "pretrained_cfg"}
_OF_PREPARATION = ("mean", "std", "eval_crop", "interpolation", "crop_mode", "value_range")


def add(parser, data_required=False, data_default=""):
    """Adds what says where images are and how they are prepared to an `ArgumentParser`."""
    add = parser.add_argument
    shown = f"folder of images or shards, name of a tensorflow-datasets set, or {DIGITS}"
    add("--data", required=data_required, help=f"{shown}{data_default}")
    shown = "folder where tensorflow-datasets has prepared its sets (default: %(default)s)"
    add("--data-dir", metavar="FOLDER", default=DEFAULTS["data_dir"], help=shown)
    shown = "config.json of a run, for a model file in another folder (default: the one beside it)"
    add("--config", metavar="FILE", help=shown)
    add_scaling(parser, "the model's or its run's, or else {:g}")
    shown = "interpolation by which images are resized"
    shown += f" (default: the model's, or else {DEFAULTS['interpolation']})"
    add("--interpolation", choices=INTERPOLATIONS, help=shown)
    shown = "side of the central crop as a share of the image's shorter side, above 0 and up to 1"
    shown += f" (default: the model's, or else {DEFAULTS['eval_crop']})"
    add("--eval-crop", type=float, metavar="SHARE", help=shown)
    shown = "what is seen of an image: its center, or all of it, squashed or padded"
    shown += f" (default: the model's, or else {DEFAULTS['crop_mode']})"
    add("--crop-mode", choices=CROP_MODES, help=shown)
    shown = "numbers that become black and white in files of more than 8 bits a channel"
    shown += " (default: the model's, or else 0 to 65,535 of 16 bits and 0 to 1 of real numbers)"
    add("--value-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help=shown)
    for name, what in (("image", "image"), ("label", "label")):
        shown = f"name of the {what} in each record of --data (default: the run's, or found)"
        add(f"--{name}-key", metavar="NAME", help=shown)
    shown = "read several labels an image, or none (default: as in the model's training)"
    add("--multi-label", action="store_true", help=shown)
    shown = "what separates labels in a cell of a table (default: the run's, or found)"
    add("--label-separator", metavar="TEXT", help=shown)
    shown = "largest share of images that may be unreadable, from 0 to 1 (default: the run's, or "
    shown += "else 0.001, and a few of a small set)"
    add("--max-unreadable", type=float, metavar="SHARE", help=shown)
    shown = "largest image that is decoded, in millions of pixels, above 0"
    shown += f" (default: the run's, or else {DEFAULTS['max_megapixels']:g})"
    add("--max-megapixels", type=float, metavar="N", help=shown)


def add_scaling(parser, usual):
    """Adds --mean and --std; `usual` says what they are by default, with {} for a number."""
    for name, done in (
        ("mean", "mean that is subtracted from pixels scaled to [0, 1]"),
        ("std", "standard deviation, above 0, that pixels scaled to [0, 1] are divided by"),
    ):
        shown = f"{done}: one number, or one per channel"
        shown += f" (default: {usual.format(DEFAULTS[name][0])})"
        parser.add_argument(f"--{name}", type=float, nargs="+", metavar="X", help=shown)


def run_config(args, model, warn):
    """Returns the `TrainingConfig` that `model`, a `LoadedModel`, was trained by, or None.

    It is the model's own, or the file in `args.config`, or the config.json beside the model.
    """
    from keras_mixers.training import config as settings

    if model.config is not None:
        if args.config:
            raise UsageError(
                "--config is for model files: run folders and checkpoints have theirs."
            )
        return model.config
    path, called = files.named("MODEL", args.model).parent / "config.json", "the file beside MODEL"
    if args.config:
        path, called = files.named("--config", args.config), "--config"
    elif not path.exists() or _is_of_another_tool(path):
        return None
    if model.preprocessing is None:
        warn(f"The images are prepared as {path} says.")
    return settings.load(path, called)


def _is_of_another_tool(path):
    """Returns whether a config.json is timm's or transformers', as beside their weight files."""
    try:
        return not json.loads(path.read_text()).keys().isdisjoint(_OF_OTHER_TOOLS)
    except (AttributeError, OSError, ValueError):
        return False  # Whoever reads it says what is wrong.


def given(args):
    """Returns what the options say of how images are prepared, by the names of the settings."""
    found = {name: getattr(args, name) for name in _OF_PREPARATION}
    found = {name: value for name, value in found.items() if value is not None}
    tuples = {"mean", "std", "value_range"} & found.keys()
    return found | {name: tuple(found[name]) for name in tuples}


def reading(args, trained_by, model):
    """Returns the `Reading` of the data: as asked for, or as of the run, or of the model.

    Raises:
        UsageError: The digits have one label each.
    """
    from keras_mixers.data.reading import Reading

    usual = trained_by.reading if trained_by else Reading(multi_label=model.multi_label)
    found = Reading(*(getattr(args, name) or was for name, was in usual._asdict().items()))
    if found.multi_label and args.data == DIGITS:
        raise UsageError(f"--data {DIGITS} has one label an image: give data of several.")
    return found


def limits(args):
    """Returns what the options allow of images, by the names of the settings."""
    found = {name: getattr(args, name) for name in ("max_unreadable", "max_megapixels")}
    return {name: value for name, value in found.items() if value is not None}
