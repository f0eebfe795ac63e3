"""Fine-tunes a model on images of your own, and shows what it gets wrong.

It begins with published weights, a file of weights or an earlier run (--weights), gives the model a
new head for the classes of --data, and trains for a few epochs. Images are in folders, one per
class: FOLDER/train/<class>/*.jpg and FOLDER/validation/<class>/*.jpg, or FOLDER/<class>/*.jpg, a
fifth of each class of which is then held out for validation; in a table of labels, such as
labels.csv; or any other --data of keras-mixers imagenet.

The same command, started again, goes on from the newest checkpoint of its run folder, which at the
end holds summary.md and curves.png, confusion.csv and confusion.png, and mistakes.png, the images
that the model is most wrong about; of several labels an image (--multi-label, by default with
--loss sigmoid), classes.csv and classes.png in place of the confusion.

Every setting below has a default for fine-tuning; what an earlier run says of its model and images
is taken from that run.

Exit status: as of keras-mixers imagenet, and 1 when the exported file disagrees with the model.

Examples (the last line goes on from the two before it, three minutes on two CPU cores):
  keras-mixers finetune --data ~/images --weights imagenet21k --export out
  keras-mixers finetune --data ~/images --model SMLPNetB --weights smlp_b.pth
  python benchmarks/jpeg_digits.py runs/jpeg_digits
  keras-mixers imagenet --recipe digits_mixer --data runs/jpeg_digits/folder
  keras-mixers finetune --weights runs/digits_mixer --data runs/jpeg_digits/folder \\
    --train-split "train[:2%]" --image-size 96 --epochs 4 --out runs/finer --export runs/finer
"""

import argparse
import dataclasses
import pathlib
import sys
from typing import Literal

import keras_mixers.training  # noqa: F401  (sets what TensorFlow reads when it is imported)
from keras_mixers import files
from keras_mixers.commands import cli, training
from keras_mixers.errors import UsageError
from keras_mixers.export import CALIBRATED, PRECISIONS
from keras_mixers.training import fine_tuning

_PROG = "keras-mixers finetune"


@dataclasses.dataclass(frozen=True)
class _Command(training.Command):
    """The settings of a run, and what the command itself takes."""

    export: str | None = None
    """Folder to write the trained model to as a TFLite file, which is checked; None for none."""
    export_precision: Literal[PRECISIONS] | None = None
    """Precision of the file of --export, as in keras-mixers export --help; None for float32."""


def read_command(argv):
    """Returns the `TrainingConfig` of a command line, and all of it."""
    default = fine_tuning.usual() if cli.asks_help(argv) else _defaults(argv)
    config, given = training.parse(_Command, argv, _PROG, __doc__, default)
    if given.export_precision and not given.export:
        raise UsageError("--export-precision is of a file: give --export FOLDER as well.")
    return config, given


def _defaults(argv):
    """Returns the `TrainingConfig` that a command line changes; some of it depends on the rest."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in ("--data", "--model", "--weights", "--epochs"):
        first.add_argument(flag)
    for flag in ("--mean", "--std"):
        first.add_argument(flag, nargs="+")
    first.add_argument("--multi-label", action=argparse.BooleanOptionalAction)
    try:
        chosen, _ = first.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error}") from None
    if not chosen.data:
        raise UsageError("--data is missing: give a folder with a folder of images per class.")
    _check_folder(chosen.data)
    epochs = int(chosen.epochs) if (chosen.epochs or "").isdecimal() else fine_tuning.EPOCHS
    scaling_is_given = bool(chosen.mean and chosen.std)
    default = fine_tuning.defaults(
        chosen.model, chosen.weights, epochs, scaling_is_given=scaling_is_given
    )
    return dataclasses.replace(default, loss="sigmoid") if chosen.multi_label else default


def _check_folder(data):
    """Raises a `UsageError` where a path is meant, and there is no folder and no table."""
    from keras_mixers.data import tables

    path = files.named("--data", data)
    meant = path.exists() or "/" in data
    is_table = path.is_file() and tables.is_table(data)
    if meant and not path.is_dir() and not is_table:
        raise UsageError(
            "--data must be a folder with a folder of images per class, or a table of labels "
            "(.csv, .tsv, .jsonl). Received: "
            f"{data}, {'a file' if path.exists() else 'where nothing is'}"
        )


def run(config, export=None, precision="float32"):
    """Fine-tunes, evaluates and exports. Returns the exit status."""
    from keras_mixers.evaluation.review import review
    from keras_mixers.training import run

    target = _target(config, export, precision) if export else None
    trained = run.train(config)
    if trained is None:
        return 0
    review(trained.model, trained.config, trained.validation)
    return _export(trained, target, precision) if target else 0


def _target(config, folder, precision):
    """Returns the path of the file to write, after what could keep the export from its work.

    Raises:
        UsageError: The folder cannot be written to, or has another model's file of that name.
    """
    import keras

    from keras_mixers.export import naming
    from keras_mixers.training import run_folder

    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            "--export needs TensorFlow: leave it out, and run keras-mixers export on the run "
            f"folder with KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()}"
        )
    out = files.named("--out", config.out)
    try:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--export must be a folder to write into. Received: {error}") from None
    target = naming.target(out, pathlib.Path(folder), precision)
    if target.exists() and run_folder.begins(out):
        raise UsageError(f"--export: {target} exists; give another folder, or another --out.")
    return target


def _export(trained, target, precision):
    """Writes the trained model as a TFLite file. Returns the exit status."""
    from keras_mixers.export import report
    from keras_mixers.export.calibration import calibration
    from keras_mixers.export.exporter import export
    from keras_mixers.export.origin import Origin
    from keras_mixers.export.tflite import TFLite
    from keras_mixers.training import run_folder

    config = trained.config
    kind = TFLite(precision)
    if precision in CALIBRATED:
        found_on = calibration(trained.training, config, config.train_split)
        kind = dataclasses.replace(kind, calibration=found_on)
    result = export(
        trained.model,
        target,
        kind,
        Origin(
            config.out,
            config,
            tuple(trained.validation.class_names),
            thresholds=run_folder.thresholds(files.named("--out", config.out) / "model.keras"),
        ),
        trained.validation,
        f"images of {config.data}, {config.validation_split}",
    )
    print(report.table(result))
    return 0 if result.agrees else 1


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog=_PROG)
    ends = []

    def work():
        config, given = read_command(argv)
        of_export = ("ai_edge_litert", "ai_edge_quantizer") if given.export else ()
        cli.prepare(parser, (*cli.TO_TRAIN, *of_export), backends=("tensorflow", "jax"))
        ends.append(run(config, given.export, given.export_precision or "float32"))

    return training.status_of(work, _PROG) or ends[0]


def as_process(argv):
    """Runs the command as a process of its own, to its end."""
    training.leave(lambda: main(argv), _PROG)
