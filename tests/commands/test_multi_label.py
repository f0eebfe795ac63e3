"""Several labels an image, from a table to a file for phones: training, evaluation, export."""

import csv
import json
import shutil

import numpy as np
import pytest
from sklearn import metrics

from keras_mixers.commands import evaluate, export, finetune, imagenet
from keras_mixers.demo import description
from keras_mixers.evaluation import exported, loading
from keras_mixers.evaluation.saved_model import LoadedSavedModel
from keras_mixers.export import comparison
from keras_mixers.preprocessing import cropping
from keras_mixers.training import config as settings
from tests.helpers.image_files import encode
from tests.helpers.train_command import SMALL

pytestmark = pytest.mark.tensorflow

CLASSES = ("blue", "green", "red")


def picture(has, rng):
    """A channel is bright for each label; a little noise makes probabilities differ."""
    image = np.zeros((24, 24, 3)) + rng.uniform(0, 60, 3)
    for label in has:
        image[:, :, 2 - CLASSES.index(label)] += 120
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype("uint8")


@pytest.fixture(scope="module")
def world(tmp_path_factory, finished):
    """Images, a table of theirs, the run of keras-mixers finetune, and its exported file."""
    folder = tmp_path_factory.mktemp("several")
    rng = np.random.default_rng(0)
    rows = [("image", "labels", "split")]
    for number in range(32):
        has = [name for place, name in enumerate(CLASSES) if number >> place & 1]
        (folder / f"{number}.png").write_bytes(encode(picture(has, rng), "PNG"))
        if number % 11 == 5:  # Mistakes of whoever labelled them.
            has = [name for name in CLASSES if name not in has]
        rows.append((number, "|".join(has), "val" if number % 4 == 1 or number > 27 else "train"))
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    status = finetune.main(
        [
            *("--data", str(folder), "--multi-label", "--weights", str(finished)),
            *("--epochs", "6", "--batch-size", "4", "--learning-rate", "0.1"),
            *("--ema-decay", "0.8"),
            *("--out", str(folder / "run"), "--export", str(folder / "out")),
        ]
    )
    assert status == 0
    return folder


@pytest.fixture(scope="module")
def saved(world, tmp_path_factory):
    """The folder of a SavedModel of the run."""
    folder = tmp_path_factory.mktemp("saved")
    options = ("--format", "savedmodel", "--top-k", "3")
    assert export.main([str(world / "run" / "model.keras"), str(folder), *options]) == 0
    return folder / "model"


@pytest.fixture(scope="module")
def expected(world):
    """Labels and probabilities of the validation images, by NumPy, in the order of the table."""
    with open(world / "labels.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    labels = np.array([[name in row["labels"] for name in CLASSES] for row in rows])
    loaded = loading.read_model(world / "run" / "model.keras")
    config = settings.load(world / "run" / "config.json")
    files = [(world / f"{row['image']}.png").read_bytes() for row in rows]
    pixels = [cropping.decode_central(file, config.preprocessing) for file in files]
    assert loaded.includes_preprocessing
    logits = loaded.predict(np.stack(pixels).astype("float32"))
    return labels, 1 / (1 + np.exp(-np.asarray(logits, "float64")))


def printed(text):
    lines = [line.strip("| ").replace("|", "  ") for line in text.splitlines()]
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    return {name: value.strip() for name, value in pairs}


def test_the_run_tells_what_numpy_tells(world, expected):
    labels, found = expected
    run = world / "run"
    thresholds = json.loads((run / "thresholds.json").read_text())["model.keras"]
    assert tuple(thresholds) == CLASSES == tuple((run / "labels.txt").read_text().split())
    decided = found >= list(thresholds.values())
    average = metrics.average_precision_score(labels, found, average=None)
    f1 = metrics.f1_score(labels, decided, average=None)
    assert 0.3 < f1.mean() < 1  # A number that could be wrong.
    with open(run / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(CLASSES)
    assert [int(row["images"]) for row in rows] == labels.sum(axis=0).tolist()
    for name, values in (("average precision", average), ("F1", f1)):
        np.testing.assert_allclose([float(row[name]) for row in rows], values, atol=1e-4)
    last = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()][-1]
    assert last["val_map"] == pytest.approx(average.mean(), abs=0.02)
    micro = metrics.f1_score(labels, decided, average="micro")
    assert last["val_f1"] == pytest.approx(micro, abs=1e-6)
    summary = printed((run / "summary.md").read_text())
    assert summary["validation mAP, F1"] == f"{last['val_map']:.2%}, {last['val_f1']:.2%}"
    assert "thresholds.json" in summary["files"]
    assert {"classes.png", "mistakes.png", "curves.png"} <= {path.name for path in run.iterdir()}


@pytest.mark.parametrize("kind", ["run", "keras", "tflite", "savedmodel"])
def test_every_kind_of_model_gives_the_numbers_of_numpy(
    kind, world, saved, expected, tmp_path, capsys
):
    labels, found = expected
    model = {
        "run": world / "run",
        "keras": world / "run" / "model.keras",
        "tflite": next((world / "out").glob("*.tflite")),
        "savedmodel": saved,
    }[kind]
    capsys.readouterr()
    table = tmp_path / "classes.csv"
    data = ("--data", str(world), "--per-class", str(table))
    assert evaluate.main([str(model), *data]) == 0
    told = printed(capsys.readouterr().out)
    average = metrics.average_precision_score(labels, found, average=None)
    thresholds = exported.read_tflite(next((world / "out").glob("*.tflite")))[0]["thresholds"]
    decided = found >= thresholds
    assert told["mAP"] == f"{average.mean():.2%}"
    micro = metrics.f1_score(labels, decided, average="micro")
    assert told["F1, all labels together"] == f"{micro:.2%}"
    macro = metrics.f1_score(labels, decided, average="macro")
    assert told["F1, mean of the classes"] == f"{macro:.2%}"
    assert told["thresholds"].endswith(", of the training, found on its validation images")
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["threshold"] for row in rows] == [f"{value:.4f}" for value in thresholds]


def test_an_exported_file_takes_thresholds_along(world, expected, tmp_path, capsys):
    (file,) = (world / "out").glob("*.tflite")
    about, names = exported.read_tflite(file)
    of_run = json.loads((world / "run" / "thresholds.json").read_text())["model.keras"]
    assert dict(zip(names, about["thresholds"], strict=True)) == of_run
    assert about["multi_label"]
    assert about["probabilities_by"] == "sigmoid"
    assert description.describe(file)["thresholds"] == about["thresholds"]
    assert export.main([str(world / "run"), str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    average = metrics.average_precision_score(*expected, average="macro")
    assert told["map_model"] == pytest.approx(average)
    assert told["map_file"] == pytest.approx(average)
    assert told["agreement"] == 1


def test_a_saved_model_says_which_labels_are_found(world, saved):
    saved = LoadedSavedModel(saved)
    files = [(world / f"{number}.png").read_bytes() for number in range(32)]
    found, probabilities = saved.classify(files)
    raw = saved._loaded.signatures["classify"](image_bytes=files)
    names = np.char.decode(raw["labels"].numpy().astype(bytes))
    thresholds = json.loads((world / "run" / "thresholds.json").read_text())["model.keras"]
    reached = probabilities >= np.vectorize(thresholds.get)(names)
    np.testing.assert_array_equal(raw["found"], reached)
    np.testing.assert_array_equal(found, np.where(reached, names, ""))
    assert 0 < reached.sum() < reached.size


def test_what_does_not_go_together(world, finished, tmp_path, capsys):
    data = ("--data", str(world))
    assert imagenet.main([*SMALL, *data, "--multi-label", "--loss", "softmax"]) == 2
    assert "--multi-label needs --loss sigmoid" in capsys.readouterr().err
    model = str(world / "run")
    assert evaluate.main([model, *data, "--confusion", str(tmp_path / "a.csv")]) == 2
    assert "--confusion is of one label an image" in capsys.readouterr().err
    assert evaluate.main([str(finished), "--data", "digits", "--multi-label"]) == 2
    assert "digits has one label an image" in capsys.readouterr().err


def test_a_model_of_one_label_says_that_it_has_no_thresholds(world, tmp_path, capsys):
    import keras

    import keras_mixers

    model = keras_mixers.MLPMixer(
        input_shape=(24, 24, 3),
        classes=3,
        classifier_activation="sigmoid",
        **{"patch_size": 8, "hidden_dim": 16, "num_blocks": 1},
        **{"tokens_mlp_dim": 8, "channels_mlp_dim": 16},
    )
    model.save(tmp_path / "mine.keras")
    keras.backend.clear_session()
    data = ("--data", str(world), "--split", "val", "--multi-label")
    assert evaluate.main([str(tmp_path / "mine.keras"), *data]) == 0
    assert printed(capsys.readouterr().out)["thresholds"] == "0.50, MODEL has none of its own"


def test_each_weights_have_their_thresholds_also_where_the_run_goes_on(world, tmp_path):
    run = shutil.copytree(world / "run", tmp_path / "run")
    written = json.loads((run / "thresholds.json").read_text())
    of_model, of_ema = (list(written[name].values()) for name in ("model.keras", "model_ema.keras"))
    assert of_model != of_ema
    for ema, expected in ((False, of_model), (True, of_ema)):
        assert list(loading.read_model(run, ema=ema).thresholds) == expected
    assert list(loading.read_model(run / "model_ema.keras").thresholds) == of_ema
    # Stopped after the last checkpoint, before anything else is written.
    for name in ("thresholds.json", "model.keras", "model_ema.keras"):
        (run / name).unlink()
    command = ["--config", str(run / "config.json"), "--out", str(run)]
    assert imagenet.main(command) == 0
    assert json.loads((run / "thresholds.json").read_text()) == written


def test_a_file_agrees_where_it_finds_the_same_labels():
    logits = np.array([[2.0, -2], [0.5, -2], [-2, -2], [2, 2]])
    found = np.array([[2.0, -2], [-0.5, -2], [-2, -3], [2, 0.1]])
    labels = np.array([[1, 0], [1, 0], [0, 0], [0, 1]])
    about = {"probabilities_by": "sigmoid", "thresholds": [0.5, 0.7]}
    judged = comparison._judged_several(logits, found, labels, about)
    assert judged["agreement"] == 0.5  # Not of the second image, and not of the last.
    for name, outputs in (("model", logits), ("file", found)):
        expected = metrics.average_precision_score(labels, outputs, average="macro")
        assert judged[f"score_of_{name}"] == pytest.approx(expected)
    about["thresholds"] = [0.3, 0.3]
    assert comparison._judged_several(logits, found, labels, about)["agreement"] == 1
