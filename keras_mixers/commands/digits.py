"""Trains a small model of each family on real handwritten digits, exports and checks them.

The digits are the 1,797 images of 8 x 8 pixels that come with scikit-learn. For each family, the
run folder receives model.keras, model.tflite, history.json, and config.json and labels.txt, by
which keras-mixers export and evaluate know the model. The TFLite file is run by LiteRT over
all test digits and compared with Keras. Two CPU cores need about three minutes in all.

Exit status: 0 when every family reaches 97.5 % and TFLite agrees with Keras on every test digit,
1 when not, 2 when the arguments cannot be used, 75 when stopped by SIGINT or SIGTERM.

Examples:
  keras-mixers digits
  keras-mixers digits --model s2_mlp --out runs/only_s2_mlp
"""

import argparse
import json
import os
import pathlib
import sys
import time

import keras_mixers.training  # noqa: F401  (sets what TensorFlow reads when it is imported)
from keras_mixers.commands import cli

MODELS = ("mlp_mixer", "s2_mlp", "smlpnet")
MIN_ACCURACY = 0.975


def build(name):
    """Returns the small model of the family `name`, from 8 x 8 images to logits."""
    import keras_mixers

    builder, sizes = {
        "mlp_mixer": (
            keras_mixers.MLPMixer,
            dict(
                patch_size=2,
                hidden_dim=128,
                num_blocks=4,
                tokens_mlp_dim=64,
                channels_mlp_dim=256,
            ),
        ),
        "s2_mlp": (
            keras_mixers.S2MLP,
            dict(patch_size=2, hidden_dim=96, num_blocks=4, channels_mlp_dim=192),
        ),
        "smlpnet": (keras_mixers.SMLPNet, dict(patch_size=1, hidden_dim=32, depths=(2, 2))),
    }[name]
    return builder(
        input_shape=(8, 8, 1),
        classes=10,
        classifier_activation=None,
        drop_path_rate=0.1,
        name=name,
        preprocessing=training_config(name).preprocessing,
        **sizes,
    )


def training_config(name, epochs=None):
    """Returns the `TrainingConfig` for `build(name)`; its numbers were found by trying a few."""
    from keras_mixers.training.config import TrainingConfig

    usual_epochs, learning_rate = {
        "mlp_mixer": (100, 4e-3),
        "s2_mlp": (60, 6e-3),
        "smlpnet": (40, 3e-3),
    }[name]
    epochs = epochs or usual_epochs
    return TrainingConfig(
        epochs=epochs,
        batch_size=64,
        loss="softmax",
        head_bias=0.0,
        mixup=0.0,
        label_smoothing=0.1,
        learning_rate=learning_rate,
        final_learning_rate=0.0,
        schedule="cosine",
        warmup_epochs=min(5, epochs / 2),
        weight_decay=0.05,
        model={"mlp_mixer": "MLPMixer", "s2_mlp": "S2MLP", "smlpnet": "SMLPNet"}[name],
        data="digits",
        image_size=8,
        channels=1,
        eval_crop=1.0,
    )


def augment(images, seed):
    """Small rotations, zooms and shifts; no flips, which would make other digits."""
    from keras_mixers.data.augmentation import random_affine

    # Filled with zeros, which is paper.
    return random_affine(images, seed, rotation=15, zoom=0.15, shift=0.1)


def run(name, splits, out, epochs=None):
    """Trains, saves, exports and checks one model.

    Returns:
        A dict: `history`, the learning curves; `by_keras` and `by_tflite`, the predicted class of
        every test image; `agrees`, whether the exporter's own check passed; `parameters`,
        `seconds` of training, `size` of the TFLite file in bytes.
    """
    from keras_mixers.data import digits
    from keras_mixers.data.dataset import ArrayData
    from keras_mixers.evaluation import costs
    from keras_mixers.evaluation.litert import LiteRTModel
    from keras_mixers.export.exporter import export
    from keras_mixers.export.origin import Origin
    from keras_mixers.export.tflite import TFLite
    from keras_mixers.training import config as settings
    from keras_mixers.training import distribution, loop, run_folder

    training, validation, (test_images, _) = splits
    config = training_config(name, epochs)
    start = time.perf_counter()
    engine, by_epoch = loop.train(
        config,
        lambda: build(name),
        ArrayData(*training, classes=10, augment=augment),
        ArrayData(*validation, classes=10),
        distribution.connect(config).make_engine,
        name=name,
    )
    seconds = time.perf_counter() - start
    model = engine.model
    history = {name: [epoch[name] for epoch in by_epoch] for name in by_epoch[0]}

    model.save(out / "model.keras")
    settings.save(config, out / "config.json")
    run_folder.save_class_names(out, digits.CLASSES)
    (out / "history.json").write_text(json.dumps(history))
    origin = Origin(str(out), config, digits.CLASSES)
    exported = export(model, out / "model.tflite", TFLite(), origin)
    return {
        "history": history,
        "by_keras": model.predict(test_images, verbose=0).argmax(axis=-1),
        "by_tflite": LiteRTModel(exported.path).predict(test_images).argmax(axis=-1),
        "agrees": exported.agrees,
        "parameters": costs.trainable_parameters(model),
        "seconds": seconds,
        "size": exported.size,
    }


def table(results, labels):
    """Returns one line per family, as Markdown."""
    from tabulate import tabulate

    lines = [
        {
            "family": name,
            "parameters": f"{result['parameters']:,}",
            "training, s": f"{result['seconds']:.0f}",
            "Keras, %": f"{100 * (result['by_keras'] == labels).mean():.2f}",
            "TFLite, %": f"{100 * (result['by_tflite'] == labels).mean():.2f}",
            "agree": f"{(result['by_keras'] == result['by_tflite']).sum()} of {len(labels)}",
            "TFLite, kB": f"{result['size'] / 1e3:.0f}",
        }
        for name, result in results.items()
    ]
    alignment = ("left", *["right"] * 6)
    return tabulate(lines, "keys", "github", disable_numparse=True, colalign=alignment)


def shortcomings(results, labels):
    """Returns a sentence for each model that misses the bar."""
    sentences = []
    for name, result in results.items():
        accuracy = (result["by_keras"] == labels).mean()
        if accuracy < MIN_ACCURACY:
            sentences.append(f"{name} reached {accuracy:.2%} instead of {MIN_ACCURACY:.1%}.")
        differing = (result["by_keras"] != result["by_tflite"]).sum()
        if not result["agrees"]:
            sentences.append(f"{name}: the logits of TFLite and Keras differ beyond rounding.")
        if differing:
            sentences.append(f"{name}: TFLite and Keras disagree on {differing} test digits.")
    return sentences


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="keras-mixers digits",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shown = "family to train a small model of (default: %(default)s)"
    parser.add_argument("--model", choices=(*MODELS, "all"), default="all", help=shown)
    parser.add_argument(
        "--epochs",
        type=int,
        help="number of epochs to train for, from 1; with few, a model misses the 97.5 %% that "
        "status 0 needs (default: 100 for mlp_mixer, 60 for s2_mlp, 40 for smlpnet)",
        metavar="N",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("runs/digits"),
        help="folder of the runs; an earlier run in it is replaced (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.epochs is not None and args.epochs < 1:
        parser.error(f"argument --epochs: must be at least 1. Received: {args.epochs}")
    modules = ("ai_edge_litert", "ai_edge_quantizer", "etils", "flatbuffers", "matplotlib")
    cli.prepare(parser, (*modules, "pydantic", "sklearn", "tabulate", "tqdm"))
    args.names = MODELS if args.model == "all" else (args.model,)
    for folder in [args.out / name for name in args.names]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"argument --out: must be a folder that can be made. Received: {error}")
        if not os.access(folder, os.W_OK):
            parser.error(f"argument --out: must be a folder to write into. Received: {folder}")
    return args


def main(argv=None):
    args = _parse(argv)
    from keras_mixers.errors import RunError
    from keras_mixers.training.plots import learning_curves_and_mistakes

    start = time.perf_counter()
    from keras_mixers.data import digits

    splits = digits.load()
    try:
        results = {name: run(name, splits, args.out / name, args.epochs) for name in args.names}
    except RunError as error:
        print(f"keras-mixers digits: {error}", file=sys.stderr)
        return error.status

    images, labels = splits[-1]
    image = args.out / "report.png"
    learning_curves_and_mistakes(results, images, labels, image)
    print(table(results, labels))
    print(f"\nLearning curves and misclassified digits: {image}")
    print(f"Models: {args.out}/*/model.keras and model.tflite")
    print(f"{time.perf_counter() - start:.0f} seconds in all")
    misses = shortcomings(results, labels)
    print("\n".join(misses))
    return 1 if misses else 0
