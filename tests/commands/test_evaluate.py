import csv
import dataclasses
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from etils import epath
from PIL import Image

from keras_mixers import presets
from keras_mixers.commands import evaluate
from keras_mixers.evaluation import loading, metrics
from keras_mixers.export.exporter import export
from keras_mixers.export.saved_model import SavedModel
from keras_mixers.export.tflite import TFLite
from keras_mixers.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from keras_mixers.training import run as training_run
from keras_mixers.training.checkpoints import Checkpoints, load
from tests.helpers import shared, train_command
from tests.helpers.image_files import encode, write_folder
from tests.models.small import build

pytestmark = pytest.mark.tensorflow

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZE = 24
CLASSES = ("ant", "bee", "cow", "dog", "eel", "fox", "gnu")
PER_CLASS = (4, 3, 5, 2, 4, 3, 4)  # Images for validation: no two classes can be mixed up.
OPTIONS = ("patch_size=8", "hidden_dim=16", "num_blocks=1")
OPTIONS += ("tokens_mlp_dim=8", "channels_mlp_dim=16")
PREPARED = "24 x 24, central crop 1, bilinear, mean 0.485 0.456 0.406, std 0.229 0.224 0.225"


def write_images(folder):
    """Seven classes that are hard to tell apart; PNG of the model's size: nothing is resized."""
    rng = np.random.default_rng(0)
    colors = rng.uniform(90, 166, (7, 3))
    for split, counts in (("train", [6] * 7), ("validation", PER_CLASS)):
        for name, color, count in zip(CLASSES, colors, counts, strict=True):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                own = rng.normal(color, 40)
                pixels = np.clip(rng.normal(own, 30, (SIZE, SIZE, 3)), 0, 255).astype("uint8")
                (folder / split / name / f"{number}.png").write_bytes(encode(pixels, "PNG"))
    return folder


def images_and_labels(folder):
    paths = sorted(folder.glob("*/*.png"))
    images = np.stack([np.asarray(Image.open(path), "float32") for path in paths])
    return images, np.array([CLASSES.index(path.parent.name) for path in paths])


@dataclasses.dataclass(frozen=True)
class World:
    data: pathlib.Path
    run: pathlib.Path
    models: dict
    """Path of every kind of model with the same weights."""
    history: dict
    """What the training said of its last epoch."""
    labels: np.ndarray
    order: np.ndarray
    """Classes by falling output, for each image: by NumPy, not by the code under test."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = shared.folder(tmp_path_factory, "world", train_and_export)
    data, run = folder / "data", folder / "run"
    models = {
        "run": run,
        "checkpoint": max((run / "checkpoints").iterdir()),
        "keras": run / "model.keras",
        "tflite": folder / "out" / "model.tflite",
        "tflite of uint8": folder / "out" / "pixels.tflite",
        "savedmodel": folder / "out" / "saved.savedmodel",
    }
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    history = [line for line in lines if line["kind"] == "epoch"][-1]
    images, labels = images_and_labels(data / "validation")
    model = keras.models.load_model(run / "model.keras")
    order = np.argsort(-model.predict(images, verbose=0), axis=-1)
    return World(data, run, models, history, labels, order)


def train_and_export(folder):
    data, run = write_images(folder / "data"), folder / "run"
    config = dataclasses.replace(
        presets.load("digits_mixer"),
        model_options=OPTIONS,
        image_size=SIZE,
        crop_min_area=1.0,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        data=str(data),
        out=str(run),
        epochs=3,
        batch_size=14,
        warmup_epochs=0.0,
        learning_rate=0.02,
        ema_decay=0.8,
        keep_checkpoints=2,
        checkpoint_steps=3,
    )
    with pytest.MonkeyPatch.context() as patch:
        train_command.draw_nothing(patch)
        training_run.train(config)
    model = keras.models.load_model(run / "model.keras")
    kinds = {"model": TFLite(batch_size=3), "pixels": TFLite(takes_pixels=True)}
    for name, kind in (kinds | {"saved": SavedModel()}).items():
        assert export(model, folder / "out" / f"{name}.{kind.name}", kind).agrees


def run_tool(capsys, *arguments):
    """Runs the command; returns its status, its table as a dict and its standard error."""
    capsys.readouterr()
    status = evaluate.main([str(argument) for argument in arguments])
    out, error = capsys.readouterr()
    assert "Traceback" not in error
    return status, dict(re.split("  +", line, maxsplit=1) for line in out.splitlines()), error


def refuse(capsys, *arguments):
    """Runs the command on what it must refuse; returns the sentence."""
    try:
        status, table, error = run_tool(capsys, *arguments)
    except SystemExit as end:
        status, table, error = end.code, {}, capsys.readouterr().err
    assert (status, table) == (2, {})
    return error.strip().splitlines()[-1]


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def confusion(labels, predicted):
    """Rows of how often each class is taken for each."""
    matrix = np.zeros((7, 7), int)
    for place in zip(labels, predicted, strict=True):
        matrix[place] += 1
    return matrix.tolist()


def numbers_of_numpy(world):
    labels, order = world.labels, world.order
    top_1, top_5 = (np.mean(np.any(order[:, :k] == labels[:, None], axis=1)) for k in (1, 5))
    assert 1 / 7 < top_1 < top_5 < 1
    right = {"top-1": f"{top_1:.2%}", "top-5": f"{top_5:.2%}"}
    return {"images": "25", "unreadable": "0", **right}


def numbers(table):
    return {name: table[name] for name in ("images", "unreadable", "top-1", "top-5")}


@pytest.mark.parametrize(
    "kind", ["run", "checkpoint", "keras", "tflite", "tflite of uint8", "savedmodel"]
)
def test_every_kind_of_model_gives_the_numbers_of_numpy(kind, world, capsys, tmp_path):
    labels, order = world.labels, world.order
    assert len(set(order[:, 0])) > 2  # Else a mistake in the table would not show.
    expected = numbers_of_numpy(world)
    files = ("--per-class", tmp_path / "new.csv", "--confusion", tmp_path / "confusion.csv")
    arguments = ("--data", world.data, "--batch-size", 7, *files)
    status, table, error = run_tool(capsys, world.models[kind], *arguments)
    assert status == 0
    assert numbers(table) == expected
    assert str(world.models[kind]) in table["model"]
    assert table["prepared"] == PREPARED
    assert float(table["images/s"].replace(",", "")) > 0
    assert "prepared" not in error  # Every file says it itself.
    assert "25/25" in error.replace("25.0", "25")  # The bar reaches its end.
    matrix = confusion(labels, order[:, 0])
    expected = [[name, *map(str, row)] for name, row in zip(CLASSES, matrix, strict=True)]
    assert rows_of(tmp_path / "confusion.csv") == [["truth", *CLASSES], *expected]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.csv", "new.csv"]
    check_per_class(rows_of(tmp_path / "new.csv"), labels, order)


def check_per_class(table, labels, order):
    header, *rows = table
    assert header == ["class", "images", "top-1", "top-5", "most often mistaken for"]
    assert [row[0] for row in rows] == list(CLASSES)
    assert [int(row[1]) for row in rows] == list(PER_CLASS)
    for label, (_, _, top_1, top_5, mistaken) in enumerate(rows):
        mine = order[labels == label]
        assert top_1 == f"{np.mean(mine[:, 0] == label):.4f}"
        assert top_5 == f"{np.mean(np.any(mine[:, :5] == label, axis=1)):.4f}"
        wrong = [CLASSES[i] for i in mine[:, 0] if i != label]
        assert mistaken == max(CLASSES, key=wrong.count) if wrong else mistaken == ""
    assert any(row[4] for row in rows)


def test_images_scaled_twice_or_otherwise_have_other_numbers(world):
    """Else those of NumPy would not show that every kind scales them once, as the run did."""
    images, _ = images_and_labels(world.data / "validation")
    model = keras.models.load_model(world.run / "model.keras")
    scaled_twice = (images / 255 - IMAGENET_MEAN) / IMAGENET_STD
    scaled_otherwise = 255 * ((images / 127.5 - 1) * IMAGENET_STD + IMAGENET_MEAN)  # To [-1, 1].
    for other in (scaled_twice, scaled_otherwise):
        predicted = model.predict(other.astype("float32"), verbose=0).argmax(axis=-1)
        assert confusion(world.labels, predicted) != confusion(world.labels, world.order[:, 0])


def test_what_the_training_said(world, capsys):
    """The same numbers as the run's own evaluation, raw and averaged."""
    raw = numbers_of_numpy(world)  # The command's, as another test says.
    for model in (world.run, world.models["checkpoint"]):
        _, averaged, _ = run_tool(capsys, model, "--data", world.data, "--ema")
        assert averaged["model"].endswith(", EMA")
        assert averaged["top-1"] == f"{world.history['ema_accuracy']:.2%}"
        assert averaged["top-5"] == f"{world.history['ema_top_5']:.2%}"
    assert raw["top-1"] == f"{world.history['val_accuracy']:.2%}"
    assert raw["top-5"] == f"{world.history['val_top_5']:.2%}"
    assert raw != numbers(averaged)
    _, table, _ = run_tool(capsys, world.run / "model_ema.keras", "--data", world.data)
    assert numbers(table) == numbers(averaged)


def test_averaged_weights_are_put_where_they_belong(world):
    state, _ = load(epath.Path(world.models["checkpoint"]))
    x = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype("float32")
    for averaged, name in ((False, "model.keras"), (True, "model_ema.keras")):
        expected = keras.models.load_model(world.run / name).predict(x, verbose=0)
        got = loading.read_model(epath.Path(world.run), averaged).predict(x)
        np.testing.assert_allclose(got, expected, atol=1e-5)
    assert any(np.any(a != b) for a, b in zip(state["average"], state["trainable"], strict=True))


def test_ties_and_nan_count_against():
    outputs = np.array([[1, 1, 0], [0, 2, 1], [3, 0, 1], [np.nan] * 3, [1, 0, 0]], "float32")
    judged = metrics.judge(outputs, np.array([0, 1, 2, 0, 2]))
    assert judged["better"].tolist() == [1, 0, 1, 2, 2]
    assert judged["predicted"].tolist() == [1, 1, 0, 1, 0]  # Never the class that does not count.
    result = metrics.Result(**judged, unreadable=())
    assert result.top(1).tolist() == [False, True, False, False, False]
    assert result.top(2).tolist() == [True, True, True, False, False]
    assert result.confusion(3).tolist() == [[0, 2, 0], [0, 1, 0], [2, 0, 0]]
    rows = metrics.per_class(result, ("a", "b", "c"))
    assert rows[1:] == [
        ("a", 2, "0.0000", "", "b"),
        ("b", 1, "1.0000", "", ""),
        ("c", 2, "0.0000", "", "a"),
    ]


def test_options_and_configurations(world, capsys, tmp_path):
    moved = shutil.copy(world.run / "model.keras", tmp_path / "moved.keras")
    data = ("--data", world.data)
    _, table, error = run_tool(capsys, moved, *data)
    assert table["prepared"] == PREPARED
    assert "config.json" not in error
    mixing = json.loads((world.run / "config.json").read_text()) | {"mixup": 0.5}
    (tmp_path / "mixing.json").write_text(json.dumps(mixing))
    given = ("--config", tmp_path / "mixing.json", "--batch-size", 5)  # Odd: there is no pair.
    assert run_tool(capsys, moved, *data, *given)[1]["top-1"] == table["top-1"]
    options = ("--eval-crop", 0.5, "--interpolation", "bicubic", "--split", "validation[:40%]")
    for model in (moved, world.run):
        _, table, _ = run_tool(capsys, model, *data, *options)
        expected = PREPARED.replace("crop 1, bilinear", "crop 0.5, bicubic")
        assert table["prepared"] == expected != PREPARED
        assert table["images"] == "10"


def test_a_model_that_does_not_say_how_images_are_prepared(world, capsys, tmp_path):
    """Then the configuration beside it says it, or one that is given, or the options."""
    data = ("--data", world.data)
    inputs = keras.Input((SIZE, SIZE, 3))
    outputs = keras.layers.Dense(len(CLASSES))(keras.layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "other.keras")
    _, table, error = run_tool(capsys, tmp_path / "other.keras", *data)
    assumed = "24 x 24, central crop 0.875, bilinear, mean 0.5, std 0.5"
    assert table["prepared"] == assumed
    sentence = f"MODEL does not say how its images are prepared; assumed: {assumed}."
    assert error.splitlines().count(sentence) == 1
    scaling = ("--mean", 0.1, 0.2, 0.3, "--std", 0.4, 0.5, 0.6)
    _, table, error = run_tool(capsys, tmp_path / "other.keras", *data, *scaling)
    assert table["prepared"].endswith("mean 0.1 0.2 0.3, std 0.4 0.5 0.6")
    assert "prepared" not in error
    given = ("--config", world.run / "config.json")
    _, table, error = run_tool(capsys, tmp_path / "other.keras", *data, *given)
    assert table["prepared"] == PREPARED
    assert f"The images are prepared as {given[1]} says." in error.splitlines()
    beside = shutil.copy(given[1], tmp_path / "config.json")
    _, table, error = run_tool(capsys, tmp_path / "other.keras", *data, *scaling[:4])
    assert table["prepared"].endswith("mean 0.1 0.2 0.3, std 0.229 0.224 0.225")
    assert f"The images are prepared as {beside} says." in error.splitlines()


def test_three_classes_have_no_top_5(capsys, tmp_path):
    write_folder(tmp_path / "data")
    build("s2_mlp", input_shape=(16, 16, 3), classes=3).save(tmp_path / "m.keras")
    status, table, _ = run_tool(capsys, tmp_path / "m.keras", "--data", tmp_path / "data")
    assert (status, table["images"]) == (0, "12")
    assert "top-5" not in table


def test_unreadable_images(world, capsys, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    for name in ("broken.png", "cut.png"):
        (data / "validation" / "bee" / name).write_bytes(b"no image")
    arguments = (world.run, "--data", data, "--batch-size", 5)
    status, table, error = run_tool(capsys, *arguments)
    assert status == 1
    assert numbers(table) == numbers_of_numpy(world) | {"unreadable": "2"}
    for name in ("broken.png", "cut.png"):
        assert re.search(f"Skipped: .*bee/{name}: .+", error)
    assert "27/27" in error.replace("27.0", "27")
    last = error.strip().splitlines()[-1]
    assert (
        "2 of 27 images of validation could not be read, more than the 1 that are allowed" in last
    )
    assert "bee/broken.png" in last
    status, table, error = run_tool(capsys, *arguments, "--max-unreadable", 0.1)
    assert (status, table["unreadable"]) == (0, "2")
    assert "could not be read" not in error
    for path in (data / "validation").glob("*/*.png"):
        path.write_bytes(b"no image")
    status, table, error = run_tool(capsys, *arguments, "--max-unreadable", 1)
    assert (status, table) == (1, {})
    assert "None of the 27 images could be read" in error


def test_the_newest_whole_checkpoint_is_used(world, capsys, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(world.run, run)
    first, newest = sorted((run / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    status, table, error = run_tool(capsys, run, "--data", world.data)
    assert status == 0
    assert int(re.search(r"step (\d+)", table["model"])[1]) == int(first.stem.split("-")[1])
    assert f"{newest} is damaged" in error
    sentence = refuse(capsys, newest, "--data", world.data)
    assert f"The checkpoint {newest} is damaged" in sentence
    first.write_bytes(b"")
    assert "All checkpoints in" in refuse(capsys, run, "--data", world.data)


def test_models_that_cannot_be_used(world, capsys, tmp_path):
    data = ("--data", world.data)
    assert "There is nothing at" in refuse(capsys, tmp_path / "no.keras", *data)
    assert "MODEL must be a path on a disk or in" in refuse(capsys, "foo://x", *data)
    (tmp_path / "empty").mkdir()
    assert "holds neither saved_model.pb nor checkpoints/step-*.npz" in refuse(
        capsys, tmp_path / "empty", *data
    )
    for name in ("text.keras", "text.tflite", "text.txt"):
        (tmp_path / name).write_text("no model")
        sentence = refuse(capsys, tmp_path / name, *data)
        assert re.search(f"MODEL must be a run folder, .* Received:? .*{name}", sentence)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_text("no model")
    assert "MODEL must be a run folder" in refuse(capsys, tmp_path / "saved", *data)
    inputs = keras.Input((SIZE, SIZE, 3))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs)).save(tmp_path / "code.keras")
    assert "Lambda" in refuse(capsys, tmp_path / "code.keras", *data)
    keras.Model(inputs, [inputs + 1, inputs]).save(tmp_path / "two.keras")
    assert "one input and one output" in refuse(capsys, tmp_path / "two.keras", *data)
    with pytest.warns(UserWarning, match="has not yet been built"):
        keras.Sequential([keras.layers.Dense(3)]).save(tmp_path / "unbuilt.keras")
    assert "must be a built model" in refuse(capsys, tmp_path / "unbuilt.keras", *data)
    for shape, sentence in (((None, None, 3), "images of any size: give --config"),):
        build("s2_mlp", input_shape=shape, classes=7).save(tmp_path / "m.keras")
        assert sentence in refuse(capsys, tmp_path / "m.keras", *data)
    build("s2_mlp", input_shape=(16, 16, 3), classes=7).save(tmp_path / "m.keras")
    given = ("--config", world.run / "config.json")
    assert "images of 24 x 24 pixels, as its run's are. It takes: 16 x 16 x 3" in refuse(
        capsys, tmp_path / "m.keras", *data, *given
    )


def test_checkpoints_that_do_not_fit(world, capsys, tmp_path):
    data = ("--data", world.data)
    state, about = load(epath.Path(world.models["checkpoint"]))
    for changes, sentence in (
        (
            {"config": about["config"] | {"later": 1}},
            "no checkpoint of this version: later is no setting",
        ),
        ({"config": about["config"] | {"model": "VGG"}}, "--model must be one of"),
        ({"data": {"class_names": ["x"] * 6}}, "is no checkpoint of this version"),
        ({"data": {}}, "is no checkpoint of this version"),
        ({"config": None}, "is no checkpoint of this version"),
    ):
        checkpoints = Checkpoints(epath.Path(tmp_path / "run" / "checkpoints"), 1)
        checkpoints.save(1, state, about | changes)
        found = refuse(capsys, tmp_path / "run", *data)
        assert sentence in found
        assert f"{tmp_path / 'run'}, step 1 is no checkpoint of this version" in found
    other = about["data"] | {"class_names": ["x", *about["data"]["class_names"][1:]]}
    checkpoints.save(1, state, about | {"data": other})
    assert "--data must have classes of the model's only, x, " in refuse(
        capsys, tmp_path / "run", *data
    )
    config = about["config"] | {"ema_decay": None}
    checkpoints.save(1, state | {"average": []}, about | {"config": config})
    assert "--ema needs a run with --ema-decay" in refuse(capsys, tmp_path / "run", *data, "--ema")


def test_arguments_and_data_that_cannot_be_used(world, capsys, tmp_path):
    data, keras_file = ("--data", world.data), world.run / "model.keras"
    assert "model_ema.keras has the EMA of its weights" in refuse(
        capsys, keras_file, *data, "--ema"
    )
    assert "--config is for model files" in refuse(
        capsys, world.run, *data, "--config", world.run / "config.json"
    )
    assert "--config must be the config.json of a run" in refuse(
        capsys, keras_file, *data, "--config", tmp_path / "no.json"
    )
    write_folder(tmp_path / "three")
    assert re.search(
        r"an output for each of the 3 classes of .*three\. Its outputs have the shape \(None, 7\)",
        refuse(capsys, keras_file, "--data", tmp_path / "three"),
    )
    assert "No data: " in refuse(capsys, keras_file, "--data", tmp_path / "nothing")
    assert "must hold a folder test" in refuse(capsys, keras_file, *data, "--split", "test")
    assert "--eval-crop must be greater than 0" in refuse(
        capsys, keras_file, *data, "--eval-crop", 0
    )
    assert "--max-unreadable must be less than or equal to 1" in refuse(
        capsys, keras_file, *data, "--max-unreadable", 2
    )
    assert "at least 1. Received: 0" in refuse(capsys, keras_file, *data, "--batch-size", 0)
    assert "--mean: invalid float value: 'x'" in refuse(capsys, keras_file, *data, "--mean", "x")
    assert re.search(
        r"--mean and --std are for models that take scaled images: .*model\.keras takes pixels",
        refuse(capsys, keras_file, *data, "--mean", 0.5),
    )
    assert "--confusion must be a .csv file. Received: x.keras" in refuse(
        capsys, keras_file, *data, "--confusion", "x.keras"
    )
    assert "required: --data" in refuse(capsys, keras_file)


def test_a_table_that_cannot_be_written_loses_no_number(world, capsys, tmp_path):
    (tmp_path / "c.csv").mkdir()
    status, table, error = run_tool(
        capsys, world.run, "--data", world.data, "--confusion", tmp_path / "c.csv"
    )
    assert status == 2
    assert table["images"] == "25"
    assert "c.csv" in error.splitlines()[-1]


def test_a_table_into_no_folder_is_refused_at_once(world, capsys, tmp_path):
    error = refuse(
        capsys, world.run, "--data", world.data, "--confusion", tmp_path / "no" / "c.csv"
    )
    assert "in a folder that exists and can be written; make it. Received: " in error
    for flag in ("--per-class", "--confusion"):
        error = refuse(capsys, world.run, "--data", world.data, flag, "foo://bucket/c.csv")
        assert f"{flag} must be a path on a disk or in a bucket" in error


@pytest.mark.slow
def test_jax_gives_the_same_numbers(world, capsys):
    _, expected, _ = run_tool(capsys, world.run, "--data", world.data)
    code = (
        "import sys; from keras_mixers.commands import evaluate; run, model, data = sys.argv[1:]; "
        "sys.exit(evaluate.main([run, '--data', data]) or evaluate.main([model, '--data', data]))"
    )
    paths = map(str, (world.run, world.run / "model.keras", world.data))
    run = subprocess.run(
        [sys.executable, "-c", code, *paths],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    for name, value in numbers(expected).items():
        assert re.findall(f"^{name} +(.*)$", run.stdout, re.MULTILINE) == [value, value]


def test_help_examples_parse():
    """The examples of --help: their options and the files of the recipe that they name."""
    text = evaluate.__doc__.replace("\\\n", " ")
    examples = [shlex.split(line) for line in re.findall("keras-mixers evaluate (.*)", text)]
    assert len(examples) == 2
    for words in examples:
        _, args = evaluate._parse(words)
        assert pathlib.Path(args.model).parts[:2] == ("runs", "digits_mixer")
    assert presets.load("digits_mixer").out == "runs/digits_mixer"
