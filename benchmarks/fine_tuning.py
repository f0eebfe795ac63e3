"""What weights of other classes are worth: fine-tuning beside the same training from scratch.

DATA is a folder of benchmarks/jpeg_digits.py. A small MLP-Mixer (recipes/presets/digits_mixer.py)
is trained on all images of the first half of the classes. Then, for each seed, it is fine-tuned
on a few images of each class of the other half, drawn by that seed, and evaluated on all
validation images of these classes; and so is the same model from random weights. All of it by the
settings of recipes/finetune.py, but no flips (of digits), milder crops and 10 images a step.

Two CPU cores need about 8 minutes. Exit status: 0, or 2 when the arguments cannot be used.

Examples:
  python benchmarks/jpeg_digits.py runs/jpeg_digits --formats folder
  python benchmarks/fine_tuning.py runs/jpeg_digits/folder
  python benchmarks/fine_tuning.py runs/jpeg_digits/folder --per-class 4 --seeds 5
"""

import argparse
import dataclasses
import pathlib
import statistics
import sys
import tempfile

import numpy as np

if __package__ is None:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import keras_mixers.training  # noqa: F401  (sets what TensorFlow reads when it is imported)
from keras_mixers import presets
from keras_mixers.commands import cli

_PRETRAINING_EPOCHS = 8


def halves(data, split):
    """Returns the images of a split as two `FolderSource`s: the first classes, and the rest."""
    from keras_mixers.data.sources import open_source

    source = open_source(data, "", split)
    middle = len(source.classes) // 2
    return [
        _of_classes(source, 0, middle),
        _of_classes(source, middle, len(source.classes)),
    ]


def _of_classes(source, first, last):
    chosen = (source.labels >= first) & (source.labels < last)
    return dataclasses.replace(
        source,
        classes=source.classes[first:last],
        paths=source.paths[chosen],
        labels=source.labels[chosen] - first,
    )


def few(source, per_class, seed):
    """Returns as many images of each class, drawn by `seed`."""
    rng = np.random.default_rng(seed)
    places = np.concatenate(
        [
            rng.choice(np.flatnonzero(source.labels == label), per_class, replace=False)
            for label in range(len(source.classes))
        ]
    )
    return dataclasses.replace(source, paths=source.paths[places], labels=source.labels[places])


def train(config, training, validation, name):
    """Returns the trained model and its accuracy on the validation images."""
    from keras_mixers.data.dataset import ImageData
    from keras_mixers.training import distribution, loop, model, run

    config = model.resolved(config)
    engine, history = loop.train(
        config,
        lambda: model.build_to_begin(config, training.classes, run.warn),
        ImageData(training),
        ImageData(validation),
        distribution.connect(config).make_engine,
        name=name,
    )
    return engine.model, history[-1]["val_accuracy"]


def measure(args):
    """Returns `{what was done: accuracies by seed}`, and the names of the new classes."""
    from etils import epath

    from keras_mixers.training import fine_tuning, run_folder

    known, new = halves(args.data, "train")
    known_validation, new_validation = halves(args.data, "validation")
    config = dataclasses.replace(presets.load("digits_mixer"), epochs=_PRETRAINING_EPOCHS)
    with tempfile.TemporaryDirectory() as folder:
        model, accuracy = train(config, known, known_validation, "pre-training")
        print(f"pre-trained on {', '.join(known.classes)}: {accuracy:.1%}", file=sys.stderr)
        weights = str(pathlib.Path(folder, "model.keras"))
        model.save(weights)
        run_folder.save_class_names(epath.Path(folder), known.classes)  # For a new head.
        tuning = dataclasses.replace(
            fine_tuning.defaults("MLPMixer", weights),
            model_options=config.model_options,
            image_size=config.image_size,
            eval_crop=config.eval_crop,
            crop_min_area=config.crop_min_area,
            flip=False,
            batch_size=10,
            epochs=args.epochs,
        )
        ways = {
            "fine-tuned": tuning,
            "fine-tuned, only the head": dataclasses.replace(tuning, trained_blocks=0),
            "from scratch": dataclasses.replace(tuning, weights=None),
            "from scratch, by AdamW": dataclasses.replace(
                tuning, weights=None, optimizer="adamw", learning_rate=2e-3, weight_decay=0.05
            ),
        }
        found = {way: [] for way in ways}
        for seed in range(args.seeds):
            images = few(new, args.per_class, seed)
            for way, settings in ways.items():
                settings = dataclasses.replace(settings, seed=seed)
                name = f"{way}, seed {seed}"
                found[way].append(train(settings, images, new_validation, name)[1])
    return found, new.classes


def _print(found, classes, args):
    from tabulate import tabulate

    base = found["from scratch"]
    rows = [
        (
            way,
            f"{100 * statistics.median(accuracies):.1f}",
            f"{100 * min(accuracies):.1f} - {100 * max(accuracies):.1f}",
            f"{100 * statistics.median(a - b for a, b in zip(accuracies, base, strict=True)):+.1f}",
        )
        for way, accuracies in found.items()
    ]
    print(
        f"{args.per_class} images each of {', '.join(classes)}; {args.epochs} epochs; "
        f"{args.seeds} seed{'s' if args.seeds > 1 else ''}\n"
    )
    names = ("MLP-Mixer at 64 x 64", "top-1, %", "min - max", "over from scratch")
    print(tabulate(rows, names, "github", disable_numparse=True))


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="benchmarks/fine_tuning.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", help="folder with train/<class>/ and validation/<class>/")
    for flag, default, shown in (
        ("--per-class", 10, "images of each class to fine-tune on"),
        ("--epochs", 20, "passes over them"),
        ("--seeds", 3, "draws of the images"),
    ):
        shown = f"{shown} (default: {default})"
        parser.add_argument(flag, type=int, default=default, help=shown, metavar="N")
    args = parser.parse_args(argv)
    for name in ("per_class", "epochs", "seeds"):
        if getattr(args, name) < 2 - (name == "seeds"):
            flag = name.replace("_", "-")
            parser.error(f"argument --{flag}: must be larger. Received: {getattr(args, name)}")
    cli.prepare(parser, ("etils", "tabulate", "tqdm"))
    return parser, args


def main(argv=None):
    parser, args = _parse(argv)
    from keras_mixers.errors import RunError

    try:
        _print(*measure(args), args)
    except RunError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
