"""The options that say which images a model is given, and how they are prepared."""

from keras_mixers import files
from keras_mixers.errors import UsageError
from keras_mixers.preprocessing import INTERPOLATIONS

DIGITS = "digits"
# Those of `TrainingConfig`, written again so that --help needs no pydantic; a test compares them.
DEFAULTS = {
    "data_dir": "~/tensorflow_datasets",
    "mean": (0.5,),
    "std": (0.5,),
    "interpolation": "bilinear",
    "eval_crop": 0.875,
    "max_unreadable": 0.001,
}
_OF_PREPARATION = ("mean", "std", "eval_crop", "interpolation")


def add(parser, data_required=False, data_default=""):
    """Adds what says where images are and how they are prepared to an `ArgumentParser`."""
    add = parser.add_argument
    shown = f"folder of images or shards, name of a tensorflow-datasets set, or {DIGITS}"
    add("--data", required=data_required, help=f"{shown}{data_default}")
    shown = "folder where tensorflow-datasets has prepared its sets (default: %(default)s)"
    add("--data-dir", metavar="FOLDER", default=DEFAULTS["data_dir"], help=shown)
    shown = "config.json of a run, for a model file in another folder (default: the one beside it)"
    add("--config", metavar="FILE", help=shown)
    add_scaling(parser, "the model's or its run's")
    shown = "interpolation by which images are resized"
    shown += f" (default: the model's, or else {DEFAULTS['interpolation']})"
    add("--interpolation", choices=INTERPOLATIONS, help=shown)
    shown = "side of the central crop as a share of the image's shorter side, above 0 and up to 1"
    shown += f" (default: the model's, or else {DEFAULTS['eval_crop']})"
    add("--eval-crop", type=float, metavar="SHARE", help=shown)
    shown = "largest share of images that may be unreadable, from 0 to 1 (default: %(default)s)"
    usual = DEFAULTS["max_unreadable"]
    add("--max-unreadable", type=float, default=usual, metavar="SHARE", help=shown)


def add_scaling(parser, usual):
    """Adds --mean and --std; `usual` says whose they are by default."""
    for name, done in (
        ("mean", "mean that is subtracted from pixels scaled to [0, 1]"),
        ("std", "standard deviation, above 0, that pixels scaled to [0, 1] are divided by"),
    ):
        shown = f"{done}: one number, or one per channel"
        shown += f" (default: {usual}, or else {DEFAULTS[name][0]:g})"
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
    elif not path.exists():
        return None
    if model.preprocessing is None:
        warn(f"The images are prepared as {path} says.")
    return settings.load(path, called)


def preparation(args, model, config, batch_size, warn):
    """Returns `inputs.preparation` with what the options override."""
    from keras_mixers.evaluation import inputs

    limit = {"max_unreadable": args.max_unreadable}
    return inputs.preparation(model, config, batch_size, warn, **limit, **given(args))


def given(args):
    """Returns what the options say of how images are prepared, by the names of the settings."""
    found = {name: getattr(args, name) for name in _OF_PREPARATION}
    found = {name: value for name, value in found.items() if value is not None}
    return found | {name: tuple(found[name]) for name in ("mean", "std") if name in found}
