"""Writes the reference numbers that a rearrangement of the code must not change: numbers.json.

Sizes of every variant, outputs of one whole variant of each family, losses of the digits' recipes,
and bytes of TFLite files. Two runs on the same machine with the same packages give the same file.
Needs TensorFlow, and five to ten minutes on two cores.

  python -m tests.regression.record [OUT_DIR]     (default: tests/regression/numbers)
"""

import argparse
import contextlib
import hashlib
import importlib.metadata
import io
import json
import pathlib
import platform
import tempfile

# What is recorded of: where things are moved, only these lines change.
from benchmarks.jpeg_digits import write as write_images
from keras_mixers.commands.digits import MODELS, build, training_config
from keras_mixers.commands.digits import run as run_digits
from keras_mixers.commands.export import main as export
from keras_mixers.commands.imagenet import main as train
from keras_mixers.data.digits import CLASSES as DIGITS
from keras_mixers.data.digits import load as load_digits
from keras_mixers.evaluation.costs import multiply_adds, trainable_parameters
from keras_mixers.presets import load as preset
from keras_mixers.training import config as settings
from keras_mixers.training import model as models
from keras_mixers.training.run_folder import save_class_names
from tests.reference import randomize

NUMBERS = pathlib.Path(__file__).with_name("numbers")
STEPS = 20
PRESETS = ("digits_mixer", "digits_s2_mlp", "digits_smlpnet")
PRECISIONS = ("float32", "float16", "dynamic", "int8")
# The variant of each family whose outputs are recorded, and three of its layers.
WHOLE = {
    "MLPMixerS32": ("block_0_token_mixing", "block_3_channel_add", "pre_head_layer_norm"),
    "S2MLPWide": ("block_0_spatial_shift", "block_5_shift_add", "block_11_channel_mixing"),
    "SMLPNetT": ("block_0_axial_projection", "stage_2_merging", "pre_head_batch_norm"),
}
_IMAGES = "images/folder"
# With batches of 64: five steps an epoch, so that 20 steps see the warm-up and the way down.
_COUNTS = {"train": 320, "validation": 64}


def sizes(name):
    """Returns trainable parameters and multiply-adds of a variant."""
    import keras

    import keras_mixers

    model = getattr(keras_mixers, name)()
    found = {"parameters": trainable_parameters(model), "macs": multiply_adds(model)}
    del model
    keras.backend.clear_session()
    return found


def outputs(name):
    """Returns what a variant with seeded weights makes of a seeded image: logits, three layers.

    The weights are Keras' own for the seed, but for the head's kernel, which MLP-Mixer begins with
    at zero.
    """
    import keras
    import numpy as np

    import keras_mixers

    keras.utils.set_random_seed(7)
    # The numbers are of a model that took its images scaled.
    model = getattr(keras_mixers, name)(classifier_activation=None, include_preprocessing=False)
    head = model.get_layer("head")
    initial = {
        weight.path: _moments(keras.ops.convert_to_numpy(weight))
        for weight in (model.weights[0], head.kernel)
    }
    kernel = np.random.default_rng(1).normal(0, head.kernel.shape[0] ** -0.5, head.kernel.shape)
    head.kernel.assign(kernel.astype("float32"))
    image = np.random.default_rng(0).standard_normal((1, 224, 224, 3), "float32")
    inner = [model.get_layer(layer).output for layer in WHOLE[name]]
    logits, *values = keras.Model(model.input, [model.output, *inner]).predict(image, verbose=0)
    found = {
        "logits": [float(x) for x in logits[0, :16]],
        "all_logits": _moments(logits),
        "layers": {layer: _moments(x) for layer, x in zip(WHOLE[name], values, strict=True)},
        "initial": initial,
    }
    del model
    keras.backend.clear_session()
    return found


def _moments(values):
    values = values.astype("float64")
    return {"mean": float(values.mean()), "std": float(values.std())}


def preset_losses(name):
    """Returns the loss of each of the first steps of a recipe, and of the epochs among them."""
    out = f"trained/{name}"
    arguments = ("--recipe", name, "--data", _IMAGES, "--out", out, "--log-steps", "1")
    if train(list(arguments)) != 0:
        raise RuntimeError(f"{name} was not trained")
    lines = [json.loads(line) for line in pathlib.Path(out, "log.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["step"] <= STEPS]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    return {
        "losses": [line["loss"] for line in lines if line["kind"] == "train"],
        "gradient_norms": [line["gradient_norm"] for line in lines if line["kind"] == "train"],
        "val_losses": [line["val_loss"] for line in epochs],
        "ema_losses": [line["ema_loss"] for line in epochs],
    }


def digits_losses(name):
    """Returns the losses of an epoch, 19 steps, of a model of the recipe of digits."""
    out = pathlib.Path("trained", name)
    out.mkdir(parents=True)
    history = run_digits(name, load_digits(), out, epochs=1)["history"]
    return {"losses": history["loss"], "val_losses": history["val_loss"]}


def tflite(name):
    """Returns size and hash of the TFLite files of a model of the digits, by precision.

    Its weights are seeded and not trained: training may differ in the last bit, these do not. The
    paths are relative and the same everywhere, because a file says which folder it was made of.
    """
    import numpy as np

    folder = pathlib.Path("untrained", name)
    folder.mkdir(parents=True)
    if name in MODELS:
        model, config, labels = build(name), training_config(name), DIGITS
    else:
        labels = tuple(sorted(path.name for path in pathlib.Path(_IMAGES, "train").iterdir()))
        config = settings.from_dict(settings.as_dict(preset(name)) | {"data": _IMAGES})
        model = models.build(config, len(labels))
    randomize(model, np.random.default_rng(0))
    model.save(folder / "model.keras")
    settings.save(config, folder / "config.json")
    save_class_names(folder, labels)
    found = {}
    for precision in PRECISIONS:
        arguments = (str(folder), "exported", "--precision", precision, "--split", "validation")
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            status = export([*arguments, "--json"])
        if status != 0:
            raise RuntimeError(f"{name} was not exported as {precision}: {said.getvalue()}")
        data = pathlib.Path(json.loads(said.getvalue())["file"]).read_bytes()
        found[precision] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return found


def record():
    """Returns all numbers. Works in a scratch folder, which becomes the current one meanwhile."""
    import keras_mixers

    variants = [v.__name__ for family in keras_mixers.VARIANTS.values() for v in family]
    packages = ("keras_mixers", "keras", "tensorflow", "numpy", "ai-edge-litert")
    packages += ("ai-edge-quantizer", "scikit-learn", "pillow")
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        write_images(pathlib.Path("images"), _COUNTS, formats=("folder",))
        return {
            "made_with": {
                **{name: importlib.metadata.version(name) for name in packages},
                "python": platform.python_version(),
                "machine": platform.machine(),
            },
            # Before training, which sets Keras' policy of precision.
            "sizes": {name: sizes(name) for name in variants},
            "outputs": {name: outputs(name) for name in WHOLE},
            "tflite": {name: tflite(name) for name in (*MODELS, *PRESETS)},
            "presets": {name: preset_losses(name) for name in PRESETS},
            "digits": {name: digits_losses(name) for name in MODELS},
        }


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m tests.regression.record",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=pathlib.Path, nargs="?", default=NUMBERS, metavar="OUT_DIR")
    out = parser.parse_args(argv).out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    (out / "numbers.json").write_text(json.dumps(record(), indent=1) + "\n")


if __name__ == "__main__":
    main()
