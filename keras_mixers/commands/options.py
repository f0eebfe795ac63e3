"""The options that say which images a model is given, and how they are prepared."""

from keras_mixers import files
from keras_mixers.errors import UsageError
from keras_mixers.evaluation import inputs
from keras_mixers.preprocessing import INTERPOLATIONS
from keras_mixers.training import config as settings

_OF_PREPARATION = ("mean", "std", "eval_crop", "interpolation", "max_unreadable")


def add(parser, data_required=False, data_default=""):
    """Adds what says where images are and how they are prepared to an `ArgumentParser`."""
    usual = settings.TrainingConfig()
    add = parser.add_argument
    shown = f"folder of images or shards, a tensorflow-datasets name, or {inputs.DIGITS}"
    add("--data", required=data_required, help=f"{shown}{data_default}")
    add("--data-dir", default=usual.data_dir, help="of tensorflow-datasets (default: %(default)s)")
    add("--config", metavar="FILE", help="a run's config.json, for a model file elsewhere")
    for name, done in (("mean", "subtracted from"), ("std", "by which to divide")):
        shown = f"{done} pixels scaled to [0, 1]: one number, or one per channel"
        shown += f" (default: the model's, else {getattr(usual, name)[0]:g})"
        add(f"--{name}", type=float, nargs="+", metavar="X", help=shown)
    shown = "of resizing (default: the model's, else bilinear)"
    add("--interpolation", choices=INTERPOLATIONS, help=shown)
    shown = "side of the central crop, as a share of the image's shorter side"
    shown += f" (default: the model's, else {usual.eval_crop})"
    add("--eval-crop", type=float, metavar="SHARE", help=shown)
    shown = "largest share of unreadable images (default: %(default)s)"
    add("--max-unreadable", type=float, default=usual.max_unreadable, metavar="SHARE", help=shown)


def run_config(args, model, warn):
    """Returns the `TrainingConfig` that `model`, a `LoadedModel`, was trained by, or None.

    It is the model's own, or the file in `args.config`, or the config.json beside the model.
    """
    if model.config is not None:
        if args.config:
            raise UsageError(
                "--config is for model files: run folders and checkpoints have theirs."
            )
        return model.config
    path = files.named("MODEL", args.model).parent / "config.json"
    if args.config:
        path = files.named("--config", args.config)
    elif not path.exists():
        return None
    if model.preprocessing is None:
        warn(f"The images are prepared as {path} says.")
    return settings.load(path)


def preparation(args, model, config, batch_size, warn):
    """Returns `inputs.preparation` with what the options override."""
    given = {name: getattr(args, name) for name in _OF_PREPARATION}
    given = {name: value for name, value in given.items() if value is not None}
    given |= {name: tuple(given[name]) for name in ("mean", "std") if name in given}
    return inputs.preparation(model, config, batch_size, warn, **given)
