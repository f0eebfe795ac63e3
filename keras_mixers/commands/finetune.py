"""Fine-tunes a model on pictures of one's own, and shows what it gets wrong.

It begins with published weights, a file of weights or an earlier run (--weights), gives the model a
new head for the classes of --data, and trains for a few epochs. Pictures are in folders, one per
class: FOLDER/train/<class>/*.jpg and FOLDER/validation/<class>/*.jpg, or FOLDER/<class>/*.jpg, a
fifth of each class of which is then set aside for validation; or any other --data of
keras-mixers imagenet.

The same command, started again, goes on from the newest checkpoint of its run folder, which at the
end holds summary.md and curves.png, confusion.csv and confusion.png, and mistakes.png, the pictures
that the model is most wrong about.

Exit status: as of keras-mixers imagenet, and 1 when the exported file disagrees with the model.

Examples (the last line goes on from the two before it, three minutes on two CPU cores):
  keras-mixers finetune --data ~/pictures --weights imagenet21k
  keras-mixers finetune --data ~/pictures --model SMLPNetB --weights smlp_b.pth
  python benchmarks/jpeg_digits.py runs/jpeg_digits
  keras-mixers imagenet --recipe digits_mixer --data runs/jpeg_digits/folder
  keras-mixers finetune --weights runs/digits_mixer --data runs/jpeg_digits/folder \\
    --train-split "train[:2%]" --image-size 96 --epochs 4 --out runs/finer --export runs/finer
"""

import argparse
import dataclasses
import pathlib
import sys

import keras_mixers.training  # noqa: F401  (sets what TensorFlow reads when it is imported)
from keras_mixers.commands import cli, training

_PROG = "keras-mixers finetune"
_OWN = ("--data", "--model", "--weights", "--epochs", "--export", "--export-precision")
_EPOCHS = 20
_SHOWN_MISTAKES = 24
_PRINTED_CLASSES = 12
_PIXEL_RANGES = {
    "keras_mixers.mlp_mixer.preprocess_input": "minus_one_one",
    "keras_mixers.smlpnet.preprocess_input": "imagenet",
    "images / 255": "zero_one",
}


def defaults(model, weights, data, epochs=_EPOCHS):
    """Returns the `TrainingConfig` that a command line changes.

    Fine-tuning of MLP-Mixer's paper (section 3.1, appendix B): SGD with momentum 0.9, gradients
    clipped to 1, a linear warm-up and half a cosine, no weight decay, no augmentation but random
    crops and flips. Its 512 pictures a step are for sets of ImageNet's size; here they are 32.

    Args:
        model: What the user gave, or None.
        weights: The same.
        data: The same.
        epochs: Of which a quarter, or one, warms up.
    """
    from keras_mixers.data import sources
    from keras_mixers.training import config as settings

    run = _run_of(weights)
    base = run or settings.TrainingConfig()
    name = model or base.model
    splits = {}
    if data and sources.lacks_validation(data):
        splits = dict(train_split="train[:80%]", validation_split="train[80%:]")
    return settings.TrainingConfig(
        model=name,
        model_options=base.model_options if name == base.model else (),
        image_size=base.image_size,
        drop_path_rate=0.0,
        weights=weights or "imagenet21k",
        interpolation=base.interpolation,
        randaugment="none",
        mixup=0.0,
        pixel_range=run.pixel_range if run else _pixel_range(name, weights),
        eval_crop=base.eval_crop,
        flip=base.flip,
        crop_min_area=base.crop_min_area,
        epochs=epochs,
        batch_size=32,
        loss="softmax",
        head_bias=0.0,
        optimizer="sgd",
        learning_rate=0.03,
        final_learning_rate=0.0,
        schedule="cosine",
        warmup_epochs=min(1.0, epochs / 4),
        weight_decay=0.0,
        log_steps=10,
        out="runs/finetuned",
        **splits,
    )


def _run_of(weights):
    """Returns the `TrainingConfig` of the run whose folder, or a file in it, `weights` is."""
    from keras_mixers.errors import RunError, UsageError
    from keras_mixers.training import config as settings

    path = pathlib.Path(weights or "").expanduser()
    folder = path if path.is_dir() else path.parent
    if not weights or not path.exists() or not (folder / "config.json").exists():
        return None
    try:
        return settings.load(folder / "config.json")
    except RunError as error:
        if path.is_file():  # Others have a config.json beside their weights, too.
            return None
        raise UsageError(f"--weights {weights} is no run: {error}") from None


def _pixel_range(model, weights):
    from keras_mixers import weights as weight_files

    published = weight_files.PUBLISHED.get(model, {}).get(weights)
    if published:
        return _PIXEL_RANGES[published.preprocessing]
    return "minus_one_one" if model.startswith("MLPMixer") else "imagenet"


def read_command(argv):
    """Returns the `TrainingConfig` of a command line, and the rest of it as a namespace."""
    from keras_mixers.errors import UsageError
    from keras_mixers.export import PRECISIONS

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in _OWN:
        choices = PRECISIONS if flag == "--export-precision" else None
        first.add_argument(flag, choices=choices)
    try:
        chosen, rest = first.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error}") from None
    if chosen.export_precision and not chosen.export:
        raise UsageError("--export-precision is of a file: give --export FOLDER as well.")
    asks_help = any(argument in ("-h", "--help") for argument in rest)
    if not chosen.data and not asks_help:
        raise UsageError("--data is missing: give a folder with a folder of pictures per class.")
    _check_folder(chosen.data)
    epochs = int(chosen.epochs) if (chosen.epochs or "").isdecimal() else _EPOCHS
    default = defaults(chosen.model, chosen.weights, chosen.data, epochs)
    description = (
        f"{__doc__}\n"
        "Every setting below has a default for fine-tuning; what an earlier run says of its model\n"
        "and pictures is taken from that run."
    )
    given = {flag: getattr(chosen, flag[2:]) for flag in _OWN[:4]}
    arguments = [part for pair in given.items() if pair[1] is not None for part in pair]
    own = {
        "export": "Folder into which the result is written as a TFLite file, which is checked.",
        "export_precision": f"Its precision, float32 if not given: {', '.join(PRECISIONS)}.",
    }
    config = training.settings_of([*arguments, *rest], _PROG, description, default, own)
    return config, chosen


def _check_folder(data):
    """Raises a `UsageError` where a path is meant, and there is no folder."""
    from keras_mixers import files
    from keras_mixers.errors import UsageError

    path = files.named("--data", data or "")
    meant = path.exists() or "/" in (data or "")
    if data and meant and not path.is_dir():
        raise UsageError(
            "--data must be a folder with a folder of pictures per class. Received: "
            f"{data}, {'a file' if path.exists() else 'where nothing is'}"
        )


def run(config, export=None, precision="float32"):
    """Fine-tunes, evaluates and exports. Returns the exit status."""
    arguments = _export_arguments(config, export, precision) if export else None
    trained = training.train(config)
    if trained is None:
        return 0
    model, config, validation = trained
    review(model, config, validation)
    if arguments is None:
        return 0
    from keras_mixers.commands import export as exporter

    return exporter.main(arguments)


def _export_arguments(config, folder, precision):
    """Returns the arguments of keras-mixers export, after what could keep it from its work.

    Raises:
        UsageError: The folder cannot be written to, or has another model's file of that name.
    """
    import keras

    from keras_mixers import files
    from keras_mixers.commands import export as exporter
    from keras_mixers.errors import UsageError
    from keras_mixers.training import run_folder

    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            "--export needs TensorFlow: leave it out, and run keras-mixers export on the run "
            f"folder with KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()}"
        )
    out = files.named("--out", config.out)
    arguments = [config.out, folder, "--precision", precision, "--overwrite"]
    arguments += ["--split", config.validation_split]
    if precision in exporter.CALIBRATED:
        arguments += ["--calibration-split", config.train_split]
    try:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--export must be a folder to write into. Received: {error}") from None
    target = exporter.target(out, pathlib.Path(folder), precision)
    if target.exists() and run_folder.begins(out):
        raise UsageError(f"--export: {target} exists; give another folder, or another --out.")
    return arguments


def review(model, config, validation):
    """Prints how often the model is right; draws what it takes for what, and its worst mistakes."""
    from keras_mixers import files
    from keras_mixers.commands import evaluate
    from keras_mixers.evaluation import loading
    from keras_mixers.training import plots

    config = dataclasses.replace(config, gradient_accumulation_steps=1)
    shapes = model.input_shape, model.output_shape
    candidate = loading.Candidate(config.model, model.predict_on_batch, *shapes)
    result = evaluate.evaluate(candidate, validation, config)
    folder, names = files.named("--out", config.out), validation.class_names
    matrix = result.confusion(len(names))
    evaluate.write_rows(
        folder / "confusion.csv",
        [
            ("truth", *names),
            *((name, *row) for name, row in zip(names, matrix.tolist(), strict=True)),
        ],
    )
    plots.draw_confusion(matrix, names, folder / "confusion.png")
    places, indices = result.worst(_SHOWN_MISTAKES)
    images = [validation.picture(index, config) for index in indices]
    titles = [
        f"{names[result.labels[place]][:16]}\nas {names[result.predicted[place]][:16]}"
        for place in places
    ]
    plots.draw_pictures(images, titles, folder / "mistakes.png")
    _print(result, names, matrix, folder)


def _print(result, names, matrix, folder):
    from tabulate import tabulate

    wrong = [
        (matrix[i, j], names[i], names[j]) for i in range(len(names)) for j in range(len(names))
    ]
    wrong = sorted((w for w in wrong if w[0] and w[1] != w[2]), key=lambda w: -w[0])[:5]
    rows = [
        ("right", f"{result.top(1).mean():.2%} of {len(result.labels):,} pictures"),
        *(("taken for another", f"{n:,} x {name} for {other}") for n, name, other in wrong),
        ("pictures of it", f"{folder}/confusion.png, {folder}/mistakes.png"),
    ]
    print(tabulate(rows, ("validation", ""), "github", disable_numparse=True))
    if len(names) <= _PRINTED_CLASSES:
        rows = [(name, *row) for name, row in zip(names, matrix.tolist(), strict=True)]
        print("", tabulate(rows, ("class \\ taken for", *names), "github"), sep="\n")


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog=_PROG)
    cli.require(parser, "recipes", ("etils", "tyro"))
    ends = []

    def work():
        config, chosen = read_command(argv)
        of_export = ("ai_edge_litert", "ai_edge_quantizer") if chosen.export else ()
        modules = training.MODULES + of_export
        cli.prepare(parser, "recipes", modules, backends=("tensorflow", "jax"))
        ends.append(run(config, chosen.export, chosen.export_precision or "float32"))

    return training.status_of(work, _PROG) or ends[0]


def as_process(argv):
    """Runs the command as a process of its own, to its end."""
    training.leave(lambda: main(argv), _PROG)
