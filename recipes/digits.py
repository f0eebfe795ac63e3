"""Trains a small model of each family on real handwritten digits, exports and checks them.

The digits are the 1,797 pictures of 8 x 8 pixels that come with scikit-learn. For each family, the
run folder receives model.keras, model.tflite and history.json; the TFLite file is run by LiteRT
over all test digits and compared with Keras. Two CPU cores need about 4 minutes in all.

Examples:
  python recipes/digits.py
  python recipes/digits.py --model s2_mlp --out runs/only_s2_mlp
"""

import argparse
import json
import os
import pathlib
import sys
import time

if __package__ is None:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

MODELS = ("mlp_mixer", "s2_mlp", "smlpnet")
CLASSES = 10


def load_digits():
    """Returns the training, validation and test split, each `(images, labels)`.

    Always the same split, stratified by class: 1,257, 180 and 360 pictures. Images are float32 of
    shape `(pictures, 8, 8, 1)`, from -1 (paper) to 1 (ink).
    """
    import sklearn.datasets
    from sklearn.model_selection import train_test_split

    digits = sklearn.datasets.load_digits()
    images = (digits.images / 8 - 1).astype("float32")[..., None]
    images, test_images, labels, test_labels = train_test_split(
        images, digits.target, test_size=360, stratify=digits.target, random_state=0
    )
    images, validation_images, labels, validation_labels = train_test_split(
        images, labels, test_size=180, stratify=labels, random_state=0
    )
    return (images, labels), (validation_images, validation_labels), (test_images, test_labels)


def build(name):
    """Returns the small model of the family `name`, from 8 x 8 pictures to logits."""
    import keras_mixers

    settings = dict(
        input_shape=(8, 8, 1),
        classes=CLASSES,
        classifier_activation=None,
        drop_path_rate=0.1,
        name=name,
    )
    if name == "mlp_mixer":
        return keras_mixers.MLPMixer(
            patch_size=2,
            hidden_dim=96,
            num_blocks=4,
            tokens_mlp_dim=48,
            channels_mlp_dim=192,
            **settings,
        )
    if name == "s2_mlp":
        return keras_mixers.S2MLP(
            patch_size=2, hidden_dim=96, num_blocks=4, channels_mlp_dim=192, **settings
        )
    return keras_mixers.SMLPNet(patch_size=1, hidden_dim=24, depths=(2, 2), **settings)


def training_config(name):
    """Returns the `TrainingConfig` for `build(name)`, found by trying on the validation split."""
    from recipes.training.config import TrainingConfig

    epochs, learning_rate = {"mlp_mixer": (80, 6e-3), "s2_mlp": (60, 6e-3), "smlpnet": (25, 3e-3)}[
        name
    ]
    return TrainingConfig(
        epochs=epochs,
        batch_size=64,
        learning_rate=learning_rate,
        warmup_epochs=5,
        weight_decay=0.05,
        label_smoothing=0.1,
    )


def augment(images, seed):
    """Small rotations, zooms and shifts; no flips, which would make other digits."""
    from recipes.training.augmentation import random_affine

    paper = -1.0  # random_affine fills with zeros.
    return random_affine(images - paper, seed, rotation=12, zoom=0.12, shift=0.1) + paper


def run(name, splits, out):
    """Trains, saves, exports and checks one model; returns its line of the table and its curves."""
    import keras

    from recipes.training import trainer
    from tools.export import export
    from tools.litert import LiteRTModel

    training, validation, (test_images, test_labels) = splits
    config = training_config(name)
    keras.utils.set_random_seed(config.seed)
    model = build(name)
    start = time.perf_counter()
    history = trainer.train(model, config, training, validation, augment)
    seconds = time.perf_counter() - start

    out.mkdir(parents=True, exist_ok=True)
    model.save(out / "model.keras")
    (out / "history.json").write_text(json.dumps(history))
    exported = export(model, out / "model.tflite", "tflite")

    by_keras = model.predict(test_images, verbose=0).argmax(axis=-1)
    by_tflite = LiteRTModel(exported.path).predict(test_images).argmax(axis=-1)
    line = {
        "family": name,
        "parameters": f"{model.count_params():,}",
        "training, s": f"{seconds:.0f}",
        "Keras, %": f"{100 * (by_keras == test_labels).mean():.2f}",
        "TFLite, %": f"{100 * (by_tflite == test_labels).mean():.2f}",
        "agree": f"{(by_keras == by_tflite).sum()} of {len(test_labels)}",
        "TFLite, kB": f"{exported.size / 1e3:.0f}",
    }
    return line, (history, by_keras)


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="recipes/digits.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", choices=(*MODELS, "all"), default="all", help="default: all")
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("runs/digits"),
        help="run folder, replaced file by file (default: runs/digits)",
    )
    args = parser.parse_args(argv)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: cannot make the folder: {error}")
    if not os.access(args.out, os.W_OK):
        parser.error(f"argument --out: cannot write into {args.out}")
    return args


def main(argv=None):
    args = _parse(argv)
    from tabulate import tabulate

    from recipes.training.report import learning_curves_and_mistakes

    start = time.perf_counter()
    splits = load_digits()
    names = MODELS if args.model == "all" else (args.model,)
    results = {name: run(name, splits, args.out / name) for name in names}

    test_images, test_labels = splits[-1]
    picture = args.out / "report.png"
    runs = {name: curves for name, (_, curves) in results.items()}
    learning_curves_and_mistakes(runs, test_images, test_labels, picture)
    print(tabulate([line for line, _ in results.values()], "keys", "github", disable_numparse=True))
    print(f"\nLearning curves and misclassified digits: {picture}")
    print(f"Models: {args.out}/*/model.keras and model.tflite")
    print(f"{time.perf_counter() - start:.0f} seconds in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
