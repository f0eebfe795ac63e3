"""Accuracy at other resolutions than the one trained at: ways to carry weights, beside others.

DATA is a folder of benchmarks/jpeg_digits.py. The small models of recipes/presets are trained at
64 x 64; then, at each other size:
  resized image     the model as it is, of images that are prepared at that size and resized to 64
  interpolate       its weights carried by keras_mixers.resize, as they are, and after one epoch
  block_diagonal    the same, where the size is a whole multiple (MLP-Mixer only)
  from scratch      a model of that size, trained as long as the first one and one epoch more
The epoch is one of recipes/finetune.py's settings, without flips and with milder crops.

Two CPU cores need about 25 minutes for both models. Exit status: 0, or 2 when the arguments cannot
be used.

Examples:
  python benchmarks/jpeg_digits.py runs/jpeg_digits --formats folder
  python benchmarks/resolution.py runs/jpeg_digits/folder
  python benchmarks/resolution.py runs/jpeg_digits/folder --recipes digits_mixer --sizes 48 128
"""

import argparse
import dataclasses
import pathlib
import sys
import tempfile

import numpy as np

if __package__ is None:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import keras_mixers.training  # noqa: F401  (sets what TensorFlow reads when it is imported)
from keras_mixers import presets
from keras_mixers.commands import cli

RECIPES = ("digits_mixer", "digits_smlpnet")
SIZES = (32, 48, 96, 128)
_TRAINED_AT = 64


class Task:
    """Training and validation images, and a first model at `_TRAINED_AT`.

    Args:
        data: Folder of images.
        recipe: Name of a preset.
        epochs: Of the first model, or None for the preset's own.
        folder: For its file.
    """

    def __init__(self, data, recipe, epochs, folder):
        from keras_mixers.data.dataset import ImageData
        from keras_mixers.data.sources import open_source

        config = dataclasses.replace(presets.load(recipe), ema_decay=None)
        self.config = dataclasses.replace(config, epochs=epochs or config.epochs)
        self._training, self.validation = (
            ImageData(open_source(data, "", split)) for split in ("train", "validation")
        )
        self.model, self.accuracy = self.train(f"{recipe} at {_TRAINED_AT}", self.config)
        self._weights = str(pathlib.Path(folder, f"{recipe}.keras"))
        self.model.save(self._weights)

    def train(self, name, config):
        """Returns the trained model and its validation accuracy."""
        from keras_mixers.training import distribution, loop, model, run

        config = model.resolved(config)
        engine, history = loop.train(
            config,
            lambda: model.build_to_begin(config, self._training.class_names, run.warn),
            self._training,
            self.validation,
            distribution.connect(config).make_engine,
            name=name,
        )
        return engine.model, history[-1]["val_accuracy"]

    def from_scratch(self, size):
        """Returns the accuracy of a model of this size, trained for an epoch more."""
        config = dataclasses.replace(self.config, image_size=size, epochs=self.config.epochs + 1)
        return self.train(f"from scratch at {size}", config)[1]

    def tuned(self, size, method):
        """Returns the accuracy after an epoch that begins with the first model's weights."""
        from keras_mixers.training import fine_tuning

        usual, first = fine_tuning.defaults(self.config.model, self._weights), self.config
        config = dataclasses.replace(
            usual,
            model_options=first.model_options,
            mean=first.mean,
            std=first.std,
            crop_min_area=first.crop_min_area,
            eval_crop=first.eval_crop,
            flip=False,
            image_size=size,
            resize=method,
            epochs=1,
            warmup_epochs=0.1,
            batch_size=first.batch_size,
        )
        return self.train(f"{method}, an epoch at {size}", config)[1]

    def right(self, model, size):
        """Returns the accuracy of a model on images prepared at `size`, resized to its own."""
        import keras

        config = dataclasses.replace(self.config, image_size=size)
        right = []
        for images, labels, weights, _ in self.validation.evaluation_batches(config):
            images = keras.ops.convert_to_numpy(images).astype("float32")
            if size != model.input_shape[1]:
                images = keras.ops.image.resize(images, model.input_shape[1:3], antialias=True)
            found = np.argmax(model.predict_on_batch(images), axis=-1)
            right += (found == np.argmax(labels, axis=-1))[np.asarray(weights) > 0].tolist()
        return np.mean(right)


def measure(task, size):
    """Returns a row of the table: accuracies by way, None where a way does not lead to `size`."""
    import keras_mixers

    row = {"images": f"{size} x {size}", "resized image": task.right(task.model, size)}
    for method in ("interpolate", "block_diagonal"):
        whole = size % _TRAINED_AT == 0 and task.config.model == "MLPMixer"
        possible = method == "interpolate" or whole
        carried = possible and keras_mixers.resize(task.model, (size, size, 3), method)
        row[method] = task.right(carried, size) if possible else None
        row[f"{method} + 1 epoch"] = task.tuned(size, method) if possible else None
    return row | {"from scratch": task.from_scratch(size)}


def _shown(value):
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{100 * value:.1f}"


def _print(task, rows):
    from tabulate import tabulate

    epochs = task.config.epochs
    print(
        f"{task.model.name}, trained at {_TRAINED_AT} x {_TRAINED_AT} for {epochs} epochs: "
        f"top-1 {task.accuracy:.1%} (from scratch: {epochs + 1} epochs)\n"
    )
    shown = [{name: _shown(value) for name, value in row.items()} for row in rows]
    right = ["left"] + ["right"] * (len(shown[0]) - 1)
    print(tabulate(shown, "keys", "github", disable_numparse=True, colalign=right), end="\n\n")


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="benchmarks/resolution.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("data", help="folder with train/<class>/ and validation/<class>/")
    add("--recipes", nargs="+", choices=RECIPES, default=RECIPES, help="default: both")
    shown = f"sides of the images, in pixels (default: {' '.join(map(str, SIZES))})"
    add("--sizes", nargs="+", type=int, default=SIZES, help=shown, metavar="N")
    shown = "of the first model (default: the recipe's)"
    add("--epochs", type=int, help=shown, metavar="N")
    args = parser.parse_args(argv)
    for size in args.sizes:
        if size < 16 or size % 16:
            parser.error(f"argument --sizes: must be multiples of 16. Received: {size}")
    if args.epochs is not None and args.epochs < 2:
        parser.error(f"argument --epochs: must be at least 2. Received: {args.epochs}")
    cli.prepare(parser, ("etils", "tabulate", "tqdm"))
    return parser, args


def main(argv=None):
    parser, args = _parse(argv)
    from keras_mixers.errors import RunError

    try:
        with tempfile.TemporaryDirectory() as folder:
            for recipe in args.recipes:
                task = Task(args.data, recipe, args.epochs, folder)
                _print(task, [measure(task, size) for size in args.sizes])
    except RunError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
