"""The command as a whole, on a few small images: what it takes, and what it leaves."""

import re
import shutil
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image

from keras_mixers.commands import imagenet
from keras_mixers.errors import UsageError
from keras_mixers.training import checkpoints, distribution, loop, model, plots
from tests.helpers import image_files
from tests.helpers.train_command import ROOT, SMALL, log, run, size_of

pytestmark = pytest.mark.tensorflow


def test_it_learns_and_leaves_what_it_promises(finished, folder):
    last = log(finished, "epoch")[-1]
    assert last["val_accuracy"] == 1.0
    assert last["ema_accuracy"] > 0.5
    summary = (finished / "summary.md").read_text()
    assert "100.00%" in summary
    for name in ("curves.png", "augmented.png"):
        assert size_of(finished / name) > 200
    assert len(list((finished / "tensorboard").iterdir())) >= 1
    model = keras.models.load_model(finished / "model.keras")
    images = np.stack([image_files.colorful(label, 3, (24, 24)) for label in range(3)])
    logits = model.predict(images.astype("float32"), verbose=0)
    np.testing.assert_array_equal(logits.argmax(-1), range(3))
    averaged = keras.models.load_model(finished / "model_ema.keras")
    assert not np.array_equal(averaged.get_weights()[0], model.get_weights()[0])


def test_the_summary_names_the_best_epoch(finished):
    accuracies = [line["val_accuracy"] for line in log(finished, "epoch")]
    best = accuracies.index(max(accuracies)) + 1
    assert f"{max(accuracies):.2%} (epoch {best})" in (finished / "summary.md").read_text()


def test_the_log_has_the_numbers(finished):
    lines = log(finished, "train")
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]
    names = {"loss", "accuracy", "learning_rate", "gradient_norm", "images_per_second"}
    for line in lines:
        assert names | {"waiting_for_data"} <= {*line}
        assert 0 <= line["waiting_for_data"] <= 1
        assert line["gradient_norm"] > 0
    rates = [line["learning_rate"] for line in lines]
    assert rates == pytest.approx([0.02 / 3, 0.02, *rates[2:]], rel=1e-5)
    assert rates[-1] == pytest.approx(0, abs=1e-8)


def test_tensorboard_has_the_numbers(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"), {"tensors": 0, "images": 0})
    events.Reload()
    tags = {*events.Tags()["tensors"]}
    for tag in ("train/loss", "train/gradient_norm", "train/learning_rate", "epoch/ema_accuracy"):
        assert tag in tags
    assert "augmented" in tags


@pytest.mark.usefixtures("undrawn")
def test_the_written_configuration_starts_the_same_run(finished, folder, tmp_path):
    command = ["--config", str(finished / "config.json"), "--out", str(tmp_path)]
    assert imagenet.main(command) == 0
    one, two = (
        checkpoints.load(sorted((path / "checkpoints").iterdir())[-1])[0]
        for path in (finished, tmp_path)
    )
    for name, values in one.items():
        for value, same in zip(values, two[name], strict=True):
            np.testing.assert_allclose(same, value, rtol=1e-3, atol=1e-4)


def test_a_preview_of_fewer_images_than_a_batch(folder, tmp_path):
    path = tmp_path / "batch.png"
    assert run(folder, tmp_path / "run", "--batch-size", "4096", "--preview", str(path)) == 0
    with Image.open(path) as image:
        assert image.width > 3 * image.height / 2  # 24 images, eight beside each other.


@pytest.mark.parametrize(("size", "enough"), [(4096, 32), (94, 94), (24, 24), (96, 32), (100, 50)])
def test_a_preview_reads_no_more_than_it_must(size, enough):
    assert plots._enough(size) == enough


@pytest.mark.usefixtures("undrawn")
def test_the_share_of_waiting_for_data_is_measured(folder, tmp_path, monkeypatch):
    """Of a run whose data is slow for six steps, and then its steps are."""
    from keras_mixers.training.tensorflow_backend import TensorFlowEngine

    batches, take, taken = TensorFlowEngine.batches, TensorFlowEngine.train_step, []

    def slow_batches(self, make):
        for batch in batches(self, make):
            time.sleep(0.2 if len(taken) < 6 else 0)
            yield batch

    def slow_step(self, parts):
        time.sleep(0.2 if len(taken) >= 6 else 0)
        taken.append(1)
        return take(self, parts)

    monkeypatch.setattr(TensorFlowEngine, "train_step", slow_step)
    monkeypatch.setattr(loop._Loop, "_end_epoch", lambda loop: loop.history.append({}))
    monkeypatch.setattr(TensorFlowEngine, "batches", slow_batches)
    with pytest.raises(KeyError):  # No evaluation: there is nothing to report.
        run(folder, tmp_path, "--ema-decay", "None")
    waiting = {line["step"]: line["waiting_for_data"] for line in log(tmp_path, "train")}
    for step in (4, 6):  # In the first line is the start.
        assert waiting[step] > 0.5, waiting
    for step in (8, 10, 12):
        assert waiting[step] <= 0.5, waiting


def test_without_data_one_screen_says_what_to_put_where(tmp_path, capfd):
    assert imagenet.main(["--data-dir", str(tmp_path)]) == 2
    error = capfd.readouterr().err
    for words in ("imagenet2012", "FOLDER/train/<class>", "keras-mixers make-shards", "tfds build"):
        assert words in error
    assert len(error.splitlines()) < 30


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tpu"], "--tpu: no TPU answered"),
        (["--tpu", "--tpu-name", "nobody"], "--tpu-name nobody: no TPU answered"),
        (["--tpu", "--tpu-name", "grpc://127.0.0.1:9"], "127.0.0.1:9: no TPU answered.*refused"),
        (["--multi-host"], "--multi-host needs JAX"),
        (["--cpu-devices", "2", "--batch-size", "9"], "multiple of 4: .* the nearest is 8"),
        (["--image-size", "25"], "MLPMixer cannot be built with --image-size 25 .*multiple"),
        (["--model-options", "classes=3"], "--model-options must not hold classes: .*data's"),
        (["--seed", "-1"], "--seed must be greater than or equal to 0. Received: -1"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_status_2(
    folder, tmp_path, capfd, arguments, sentence
):
    assert run(folder, tmp_path, *arguments) == 2
    error = capfd.readouterr().err
    assert re.search(sentence, error), error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "MLPMixerB61"], r"--model must be one of .* Did you mean MLPMixerB16\?"),
        (["--model-options", "hiden_dim=3"], r"Received: hiden_dim.* Did you mean hidden_dim\?"),
        (["--model-options", "hidden_dim=3"], "MLPMixer needs --model-options for patch_size"),
        (["--model", "SMLPNetT"], r"Received: num_blocks, in patch_size=8 .* \(a recipe's own"),
        (["--preview", "foo://x.png"], "--preview must be a path on a disk or in a bucket"),
        (["--preview", "x.png", "--train-split", "train[:1]"], "--train-split must hold two imag"),
    ],
)
def test_what_can_be_known_is_refused_before_anything_is_written(
    folder, tmp_path, capfd, arguments, sentence
):
    assert run(folder, tmp_path / "run", *arguments) == 2
    error = capfd.readouterr().err
    assert re.search(sentence, error), error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("bias", "classes"), [(-6.9, 3), (0.5, 2)])
def test_the_bias_of_the_head_is_that_of_the_configuration(bias, classes):
    config, _ = imagenet.read_command([*SMALL, "--head-bias", str(bias)])
    built = model.build(config, classes)
    np.testing.assert_allclose(built.get_layer("head").bias, [bias] * classes)


@pytest.mark.parametrize(
    ("asked", "kind", "got"),
    [
        ("auto", "CPU", "float32"),
        ("auto", "GPU", "mixed_bfloat16"),
        ("auto", "TPU", "mixed_bfloat16"),
        ("float32", "TPU", "float32"),
        ("mixed_bfloat16", "CPU", "mixed_bfloat16"),
    ],
)
def test_precision_is_what_suits_the_device(folder, asked, kind, got, monkeypatch):
    import tensorflow as tf

    one = tf.distribute.get_strategy()
    monkeypatch.setattr(distribution, "_strategy", lambda config: (one, kind))
    config, _ = imagenet.read_command([*SMALL, "--precision", asked])
    try:
        assert got in distribution.connect(config).about
        assert keras.config.dtype_policy().name == got
    finally:
        keras.config.set_dtype_policy("float32")


def test_what_is_not_for_jax_is_refused_there(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    for flags, words in ((["--deterministic"], "XLA_FLAGS"), (["--tpu", "--tpu-name", "x"], "JAX")):
        config, _ = imagenet.read_command([*SMALL, *flags])
        with pytest.raises(UsageError, match=f"{flags[-2 if 'x' in flags else 0]} is for.*{words}"):
            distribution.connect(config)


def test_a_folder_that_cannot_be_written(folder, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    assert run(folder, tmp_path / "file" / "run") == 2
    assert "--out must be a folder to write into" in capfd.readouterr().err


def test_preview_writes_a_image_and_stops(folder, tmp_path, capfd):
    path = tmp_path / "batch.png"
    assert run(folder, tmp_path / "run", "--preview", str(path)) == 0
    assert capfd.readouterr().out.strip() == str(path)
    assert size_of(path) > 200
    assert not (tmp_path / "run").exists()


def test_preview_of_what_cannot_be_read(tmp_path, capfd):
    data = image_files.write_folder(tmp_path / "data")
    for path in data.rglob("*.*g"):
        path.write_bytes(b"nothing")
    assert run(data, tmp_path / "run", "--preview", str(tmp_path / "batch.png")) == 1
    error = capfd.readouterr().err
    assert "images of train could not be read, more than the 1 that are allowed" in error
    assert "Traceback" not in error


def test_no_path_at_all(folder, capfd):
    assert run(folder, "foo://bucket/run") == 2
    assert "--out must be a path on a disk or in a bucket (gs://, s3://)" in capfd.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_a_file_where_tensorboard_is_to_be(finished, folder, tmp_path, capfd):
    shutil.copytree(finished, tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "tensorboard")
    for out in (tmp_path / "begun", tmp_path / "resumed"):
        out.mkdir(exist_ok=True)
        (out / "tensorboard").write_text("")
        assert run(folder, out) == 1
        error = capfd.readouterr().err
        assert f"{out}/tensorboard must be a folder" in error
        assert "Traceback" not in error


def test_preview_into_no_folder(folder, tmp_path, capfd):
    assert run(folder, tmp_path / "run", "--preview", str(tmp_path / "none" / "batch.png")) == 2
    error = capfd.readouterr().err
    assert "--preview must be a file that can be written" in error
    assert "Traceback" not in error


@pytest.mark.extended  # By the engine, without the command: tests/training/test_backends.py.
def test_two_devices_train_as_one(folder, tmp_path):
    """Images that are augmented and mixed, LAMB, and a batch that evaluation does not fill.

    The two are of a process of its own, whose CPU nothing has split.
    """
    settings = ("--optimizer", "lamb", "--mixup", "0.8", "--cutmix", "1", "--flip")
    settings += ("--drop-path-rate", "0.2", "--log-steps", "1", "--epochs", "2")
    assert run(folder, tmp_path / "1", *settings) == 0
    command = [sys.executable, "-m", "keras_mixers.commands", "imagenet", *SMALL, *settings]
    command += ["--data", str(folder), "--out", str(tmp_path / "2"), "--cpu-devices", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "2 CPU devices" in done.stderr
    for kind in ("train", "epoch"):
        for one, two in zip(log(tmp_path / "1", kind), log(tmp_path / "2", kind), strict=True):
            for name in {"loss", "gradient_norm", "val_loss", "ema_loss"} & {*one}:
                assert two[name] == pytest.approx(one[name], rel=1e-4), (name, one["step"])
