"""The command as a whole, on a few small pictures."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from etils import epath
from PIL import Image

from recipes import imagenet
from recipes.training import checkpoints, devices, model, report, run_folder, trainer
from recipes.training.errors import UsageError
from tests.recipes import pictures

pytestmark = pytest.mark.tensorflow

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = [
    *("--recipe", "digits_mixer", "--image-size", "24", "--batch-size", "8", "--epochs", "4"),
    *("--model-options", "patch_size=8", "hidden_dim=16", "num_blocks=1"),
    *("tokens_mlp_dim=8", "channels_mlp_dim=16"),
    *("--log-steps", "2", "--learning-rate", "0.02"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pictures.write_folder(tmp_path_factory.mktemp("pictures"))


def run(folder, out, *arguments):
    return imagenet.main([*SMALL, "--data", str(folder), "--out", str(out), *arguments])


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    assert run(folder, out) == 0
    return out


def size_of(path):
    with Image.open(path) as image:
        return min(image.size)


def log(out, kind):
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


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
    images = np.stack([pictures.colourful(label, 3, (24, 24)) for label in range(3)])
    np.testing.assert_array_equal(model.predict(images / 127.5 - 1, verbose=0).argmax(-1), range(3))
    averaged = keras.models.load_model(finished / "model_ema.keras")
    assert not np.array_equal(averaged.get_weights()[0], model.get_weights()[0])


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


def test_started_again_it_has_nothing_to_do(finished, folder, capfd):
    before = (finished / "checkpoints").stat().st_mtime_ns
    assert run(folder, finished) == 0
    assert "100.00%" in capfd.readouterr().out
    assert (finished / "checkpoints").stat().st_mtime_ns == before


def test_another_configuration_is_refused_with_the_differences(finished, folder, capfd):
    assert run(folder, finished, "--seed", "1", "--learning-rate", "0.5") == 2
    error = capfd.readouterr().err
    assert "another configuration" in error
    assert "--seed: 0 in the folder, 1 now" in error
    assert "--learning-rate: 0.02 in the folder, 0.5 now" in error


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


def start(folder, out):
    command = [sys.executable, "recipes/imagenet.py", *SMALL, "--epochs", "100000"]
    return subprocess.Popen(
        [*command, "--data", str(folder), "--out", str(out)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sigterm_saves_and_exits_with_75(folder, tmp_path):
    process = start(folder, tmp_path)
    wait_for(lambda: (tmp_path / "log.jsonl").exists() and len(log(tmp_path, "train")) > 3, process)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 75
    (newest,) = (tmp_path / "checkpoints").iterdir()
    step = int(newest.stem.removeprefix("step-"))
    assert f"Stopped by SIGTERM after step {step:,}" in error
    assert "Traceback" not in error


def test_sigterm_before_the_first_step(folder, tmp_path):
    process = start(folder, tmp_path)
    wait_for((tmp_path / "config.json").exists, process)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "Stopped by SIGTERM before or after the training steps" in error


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()[-2000:]
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("left", [None, '{"epochs": 3,'])
def test_a_lost_configuration_is_that_of_the_checkpoints(folder, tmp_path, capfd, left):
    assert run(folder, tmp_path) == 0
    (tmp_path / "config.json").unlink()
    if left is not None:
        (tmp_path / "config.json").write_text(left)
    assert run(folder, tmp_path, "--learning-rate", "0.5") == 2
    assert "--learning-rate: 0.02 in the folder, 0.5 now" in capfd.readouterr().err
    assert run(folder, tmp_path) == 0


def test_a_configuration_of_another_version(folder, tmp_path, capfd):
    assert run(folder, tmp_path) == 0
    (tmp_path / "config.json").unlink()
    kept = checkpoints.Checkpoints(epath.Path(tmp_path / "checkpoints"), 3)
    step, state, about = kept.load_newest(pytest.fail)
    kept.save(step, state, {**about, "config": {**about["config"], "epoch": 3}})
    assert run(folder, tmp_path) == 2
    error = capfd.readouterr().err
    assert "another version of this command (epoch is no setting. Did you mean epochs?)" in error


def test_a_run_that_goes_on_within_a_line_of_the_log_logs_the_same(finished, folder, tmp_path):
    arguments = ("--checkpoint-steps", "5")
    assert run(folder, tmp_path, *arguments) == 0
    for path in sorted((tmp_path / "checkpoints").iterdir())[1:]:
        path.unlink()
    assert run(folder, tmp_path, *arguments) == 0
    for one, two in zip(log(tmp_path, "train"), log(finished, "train"), strict=True):
        for name in ("step", "loss", "accuracy", "gradient_norm"):
            assert one[name] == pytest.approx(two[name], rel=1e-3), (name, one["step"])


def test_the_checkpoint_knows_its_configuration_too(finished, folder, tmp_path, capfd):
    """Where config.json was edited."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace("hidden_dim=16", "hidden_dim=24"))
    assert imagenet.main(["--config", str(path), "--out", str(tmp_path)]) == 2
    error = capfd.readouterr().err
    assert "holds a run of another configuration" in error
    assert "hidden_dim=24" in error


def test_a_run_folder_is_one_process_at_a_time(finished, folder, capfd):
    with run_folder.alone(epath.Path(finished)):
        assert run(folder, finished) == 2
    assert f"--out: {finished} is in use by another process" in capfd.readouterr().err
    assert run(folder, finished) == 0


def test_no_picture_to_evaluate_on(tmp_path, capfd):
    folder = pictures.write_folder(tmp_path / "data")
    for path in (folder / "validation").rglob("*.jpg"):
        path.write_bytes(b"nothing")
    assert run(folder, tmp_path / "run", "--max-bad-images", "1") == 1
    error = capfd.readouterr().err
    assert "None of the 12 pictures of validation could be read" in error
    assert "Traceback" not in error


def test_sigterm_over_and_over_is_one(folder, tmp_path, monkeypatch, capfd):
    from recipes.training.tensorflow_engine import TensorFlowEngine

    take = TensorFlowEngine.train_step

    def impatient(self, parts):
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        return take(self, parts)

    monkeypatch.setattr(TensorFlowEngine, "train_step", impatient)
    assert run(folder, tmp_path) == 75
    assert "Stopped by SIGTERM after step 1;" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000001.npz"]


def test_a_preview_of_fewer_pictures_than_a_batch(folder, tmp_path):
    path = tmp_path / "batch.png"
    assert run(folder, tmp_path / "run", "--batch-size", "4096", "--preview", str(path)) == 0
    with Image.open(path) as image:
        assert image.width > 3 * image.height / 2  # 24 pictures, eight beside each other.


@pytest.mark.parametrize(("size", "enough"), [(4096, 32), (94, 94), (24, 24), (96, 32), (100, 50)])
def test_a_preview_reads_no_more_than_it_must(size, enough):
    assert report._enough(size) == enough


@pytest.mark.parametrize(("minutes", "count"), [("0", 12), ("1000", 1)])
def test_checkpoints_come_by_time(folder, tmp_path, minutes, count):
    arguments = ("--checkpoint-minutes", minutes, "--keep-checkpoints", "99")
    assert run(folder, tmp_path, *arguments) == 0
    assert len([*(tmp_path / "checkpoints").iterdir()]) == count


@pytest.mark.parametrize("slow", ["data", "step"])
def test_the_share_of_waiting_for_data_is_measured(folder, tmp_path, monkeypatch, slow):
    from recipes.training.tensorflow_engine import TensorFlowEngine

    batches, take = TensorFlowEngine.batches, TensorFlowEngine.train_step

    def slow_batches(self, make):
        for batch in batches(self, make):
            time.sleep(0.2 if slow == "data" else 0)
            yield batch

    def slow_step(self, parts):
        time.sleep(0.2 if slow == "step" else 0)
        return take(self, parts)

    monkeypatch.setattr(TensorFlowEngine, "train_step", slow_step)
    monkeypatch.setattr(trainer._Loop, "_end_epoch", lambda loop: loop.history.append({}))
    monkeypatch.setattr(TensorFlowEngine, "batches", slow_batches)
    with pytest.raises(KeyError):  # No evaluation: there is nothing to report.
        run(folder, tmp_path, "--epochs", "2", "--ema-decay", "None")
    waiting = [line["waiting_for_data"] for line in log(tmp_path, "train")][1:]
    assert all((share > 0.5) == (slow == "data") for share in waiting), waiting


def test_signals_are_the_commands_own_again_while_models_are_written(folder, tmp_path, monkeypatch):
    during, before = [], signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(
        run_folder, "save_models", lambda *_: during.append(signal.getsignal(signal.SIGTERM))
    )
    assert run(folder, tmp_path, "--epochs", "2") == 0
    assert during == [before]


def test_a_damaged_checkpoint_is_passed_over(folder, tmp_path, capfd):
    assert run(folder, tmp_path, "--checkpoint-steps", "5") == 0
    newest = sorted((tmp_path / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    assert run(folder, tmp_path, "--checkpoint-steps", "5") == 0
    error = capfd.readouterr().err
    assert f"{newest} is damaged" in error
    assert "Continuing after step 10 of 12" in error
    assert [line["step"] for line in log(tmp_path, "train")] == [2, 4, 6, 8, 10, 12]
    assert [line["step"] for line in log(tmp_path, "epoch")] == [3, 6, 9, 12]


def test_nan_ends_the_run_and_keeps_the_checkpoint(folder, tmp_path, capfd):
    arguments = ("--learning-rate", "1e30", "--clip-norm", "None", "--checkpoint-steps", "1")
    assert run(folder, tmp_path, *arguments) == 1
    error = capfd.readouterr().err
    assert re.search(r"Training has diverged: .* is (nan|inf)", error), error
    assert "Lower --learning-rate" in error
    kept = sorted((tmp_path / "checkpoints").iterdir())
    assert f"the last checkpoint before it is {kept[-1]}." in error
    for path in kept:
        for values in checkpoints.load(path)[0].values():
            assert all(np.isfinite(value).all() for value in values)


def test_without_data_one_screen_says_what_to_put_where(tmp_path, capfd):
    assert imagenet.main(["--data-dir", str(tmp_path)]) == 2
    error = capfd.readouterr().err
    for words in ("imagenet2012", "FOLDER/train/<class>", "tools/make_shards.py", "tfds build"):
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
        (["--batch-size", "26"], "--batch-size .* from 1 to .* 24. Received: 26"),
        (["--image-size", "25"], "MLPMixer cannot be built: .*multiple"),
        (["--model-options", "classes=3"], "--model-options must not hold classes: .*data's"),
        (["--seed", "-1"], "--seed must be from 0 to .*-1"),
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
    ],
)
def test_a_model_that_is_none_is_refused_before_anything_is_written(
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
    monkeypatch.setattr(devices, "_strategy", lambda config: (one, kind))
    config, _ = imagenet.read_command([*SMALL, "--precision", asked])
    try:
        assert got in devices.connect(config).about
        assert keras.config.dtype_policy().name == got
    finally:
        keras.config.set_dtype_policy("float32")


def test_what_is_not_for_jax_is_refused_there(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    for flags, words in ((["--deterministic"], "XLA_FLAGS"), (["--tpu", "--tpu-name", "x"], "JAX")):
        config, _ = imagenet.read_command([*SMALL, *flags])
        with pytest.raises(UsageError, match=f"{flags[-2 if 'x' in flags else 0]} is for.*{words}"):
            devices.connect(config)


def test_a_folder_that_cannot_be_written(folder, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    assert run(folder, tmp_path / "file" / "run") == 2
    assert "--out must be a folder to write into" in capfd.readouterr().err


def test_too_many_bad_pictures_end_the_run_with_their_names(tmp_path, capfd):
    folder = pictures.write_folder(tmp_path / "data")
    bad = folder / "train" / "bee" / "2.jpg"
    bad.write_bytes(b"\xff\xd8\xff nothing")
    assert run(folder, tmp_path / "strict") == 1
    error = capfd.readouterr().err
    assert "1 of 24 pictures of train could not be read" in error
    assert str(bad) in error
    assert run(folder, tmp_path / "lax", "--max-bad-images", "0.05") == 0
    noted = (tmp_path / "lax" / "bad_images.txt").read_text().splitlines()
    assert len(noted) == 1
    assert noted[0].startswith(f"{bad}: ")
    assert [line["unreadable"] for line in log(tmp_path / "lax", "epoch")] == [1] * 4
    assert re.search(
        r"unreadable pictures +\| 1 [^$]*, bad_images.txt \|$",
        (tmp_path / "lax" / "summary.md").read_text(),
    )


def test_preview_writes_a_picture_and_stops(folder, tmp_path, capfd):
    path = tmp_path / "batch.png"
    assert run(folder, tmp_path / "run", "--preview", str(path)) == 0
    assert capfd.readouterr().out.strip() == str(path)
    assert size_of(path) > 200
    assert not (tmp_path / "run").exists()


def test_too_little_memory_is_one_sentence(folder, tmp_path, capfd, monkeypatch):
    import tensorflow as tf

    from recipes.training.tensorflow_engine import TensorFlowEngine

    def no_room(self, parts):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    monkeypatch.setattr(TensorFlowEngine, "train_step", no_room)
    assert run(folder, tmp_path) == 1
    assert "raise --accumulation or lower --batch-size" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["UnavailableError", "AbortedError"])
def test_a_lost_device_is_said_and_can_be_started_again(folder, tmp_path, capfd, monkeypatch, kind):
    import tensorflow as tf

    from recipes.training.tensorflow_engine import TensorFlowEngine

    take, taken = TensorFlowEngine.train_step, []

    def lose_the_device(self, parts):
        taken.append(1)
        if len(taken) == 6:
            raise getattr(tf.errors, kind)(None, None, "Socket closed\nand so on")
        return take(self, parts)

    monkeypatch.setattr(TensorFlowEngine, "train_step", lose_the_device)
    assert run(folder, tmp_path, "--checkpoint-steps", "2") == 75
    error = capfd.readouterr().err
    assert "lost; start the same command again" in error
    assert "step-000000004.npz. It said: Socket closed" in error
    assert run(folder, tmp_path, "--checkpoint-steps", "2") == 0
    assert "Continuing after step 4 of 12" in capfd.readouterr().err


def test_a_full_disk_ends_the_run(folder, tmp_path, capfd, monkeypatch):
    save = np.savez

    def full(file, **arrays):
        if "000000004" in file.name:
            raise OSError(28, "No space left on device")
        save(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    assert run(folder, tmp_path, "--checkpoint-steps", "2") == 1
    error = capfd.readouterr().err
    assert "The checkpoint of step 4 could not be written" in error
    assert "the last good one is" in error
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000000002.npz"]


def test_preview_into_no_folder(folder, tmp_path, capfd):
    assert run(folder, tmp_path / "run", "--preview", str(tmp_path / "none" / "batch.png")) == 2
    error = capfd.readouterr().err
    assert "--preview must be a file that can be written" in error
    assert "Traceback" not in error


def test_a_disk_that_tensorboard_finds_full(folder, tmp_path, capfd, monkeypatch):
    import tensorflow as tf

    from recipes.training.journal import Journal

    def full(self, kind, step, values):
        raise tf.errors.ResourceExhaustedError(None, None, "events; No space left on device")

    record = Journal.record
    monkeypatch.setattr(Journal, "record", lambda *a: (full if a[2] > 3 else record)(*a))
    assert run(folder, tmp_path, "--checkpoint-steps", "1") == 1
    error = capfd.readouterr().err
    assert "cannot be written: No space left" in error
    assert "Make room" in error
    assert f"go on from {tmp_path}/checkpoints/step-" in error


def test_a_disk_that_is_full_at_the_very_end(folder, tmp_path, capfd, monkeypatch):
    def full(engine, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder, "save_models", full)
    assert run(folder, tmp_path) == 1
    error = capfd.readouterr().err
    assert "cannot be written" in error
    assert "Traceback" not in error
    assert checkpoints.load(sorted((tmp_path / "checkpoints").iterdir())[-1])


def test_a_failed_first_start_does_not_lock_the_folder(folder, tmp_path, capfd):
    assert run(folder, tmp_path, "--image-size", "25") == 2
    assert (tmp_path / "config.json").exists()
    assert run(folder, tmp_path, "--epochs", "2") == 0
    assert "another configuration" not in capfd.readouterr().err


def test_other_data_is_refused(folder, tmp_path, capfd):
    data = pictures.write_folder(tmp_path / "data")
    assert run(data, tmp_path / "run", "--epochs", "2") == 0
    for split in ("train", "validation"):
        (data / split / "ant").rename(data / split / "asp")
    assert run(data, tmp_path / "run", "--epochs", "2") == 2
    error = capfd.readouterr().err
    assert "--data must be what the run of" in error
    assert "24 pictures and 12 for validation, in 3 classes of the same names" in error
    assert run(folder, tmp_path / "run", "--epochs", "2") == 0


def test_stopped_while_evaluating_it_evaluates_later(
    finished, folder, tmp_path, monkeypatch, capfd
):
    from recipes.training.tensorflow_engine import TensorFlowEngine

    evaluate, calls = TensorFlowEngine.evaluate_step, []

    def interrupted(self, *batch):
        calls.append(1)
        if len(calls) == 8:  # In the second epoch's, by the averaged weights.
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(self, *batch)

    monkeypatch.setattr(TensorFlowEngine, "evaluate_step", interrupted)
    assert run(folder, tmp_path) == 75
    assert "Stopped by SIGTERM after step 6" in capfd.readouterr().err
    assert [line["step"] for line in log(tmp_path, "epoch")] == [3]
    assert run(folder, tmp_path) == 0
    for one, two in zip(log(tmp_path, "epoch"), log(finished, "epoch"), strict=True):
        assert one.pop("kind") == two.pop("kind")
        assert one == pytest.approx(two, rel=1e-3)


def test_a_second_signal_ends_it_at_once(folder, tmp_path, monkeypatch, capfd):
    from recipes.training.tensorflow_engine import TensorFlowEngine

    def impatient(self, parts):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TensorFlowEngine, "train_step", impatient)
    assert run(folder, tmp_path) == 130
    assert "stopped by SIGINT" in capfd.readouterr().err


@pytest.mark.parametrize("answer", ["", "UnavailableError"])
def test_a_fault_of_the_moment_is_nobodys_picture(tmp_path, capfd, monkeypatch, answer):
    import tensorflow as tf

    from recipes.training.data import PictureData

    folder = pictures.write_folder(tmp_path / "data")
    (folder / "train" / "bee" / "2.jpg").write_bytes(b"nothing")

    def why(self, index):
        if answer:
            raise getattr(tf.errors, answer)(None, None, "no route to the bucket")
        return ""

    monkeypatch.setattr(PictureData, "why_unreadable", why)
    assert run(folder, tmp_path / "run", "--epochs", "2") == (75 if answer else 0)
    error = capfd.readouterr().err
    assert ("no route to the bucket" if answer else "2.jpg; it can be read now") in error
    assert not (tmp_path / "run" / "bad_images.txt").exists()


def test_bad_pictures_are_noted_once_over_all_starts(tmp_path, capfd):
    folder = pictures.write_folder(tmp_path / "data")
    for name in ("bee/2.jpg", "cow/1.jpg"):
        (folder / "train" / name).write_bytes(b"nothing")
    arguments = ("--max-bad-images", "0.1", "--checkpoint-steps", "1", "--keep-checkpoints", "9")
    assert run(folder, tmp_path / "run", "--epochs", "2", *arguments) == 0
    noted = (tmp_path / "run" / "bad_images.txt").read_text()
    assert len(noted.splitlines()) == 2
    for path in sorted((tmp_path / "run" / "checkpoints").iterdir())[1:]:
        path.unlink()
    assert run(folder, tmp_path / "run", "--epochs", "2", *arguments) == 0
    again = (tmp_path / "run" / "bad_images.txt").read_text()
    assert sorted(again.splitlines()) == sorted(noted.splitlines())
    assert run(folder, tmp_path / "run", "--epochs", "2", *arguments) == 0  # Meets none of them.
    once_more = (tmp_path / "run" / "bad_images.txt").read_text()
    assert sorted(once_more.splitlines()) == sorted(noted.splitlines())


def test_two_devices_train_as_one(folder, tmp_path):
    """Pictures that are augmented and mixed, LAMB, and a batch that evaluation does not fill."""
    settings = ("--optimizer", "lamb", "--mixup", "0.8", "--cutmix", "1", "--flip")
    settings += ("--drop-path-rate", "0.2", "--log-steps", "1", "--checkpoint-steps", "6")
    for count in ("1", "2"):
        assert run(folder, tmp_path / count, *settings, "--cpu-devices", count) == 0
    for kind in ("train", "epoch"):
        for one, two in zip(log(tmp_path / "1", kind), log(tmp_path / "2", kind), strict=True):
            for name in {"loss", "gradient_norm", "val_loss", "ema_loss"} & {*one}:
                assert two[name] == pytest.approx(one[name], rel=1e-4), (name, one["step"])
