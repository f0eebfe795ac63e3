"""How a run of the command ends before its last step: what it says, its status, what is left."""

import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_mixers.training import checkpoints, run_folder
from tests.helpers import image_files, train_command
from tests.helpers.sampling import extended
from tests.helpers.train_command import ROOT, SHORTER, SMALL, log

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("undrawn")]


def run(folder, out, *arguments):
    return train_command.run(folder, out, *SHORTER, *arguments)


def start(folder, out):
    command = [sys.executable, "recipes/imagenet.py", *SMALL, *SHORTER, "--epochs", "100000"]
    return subprocess.Popen(
        [*command, "--data", str(folder), "--out", str(out)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()[-2000:]
        assert time.monotonic() < end
        time.sleep(0.05)


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
    wait_for((tmp_path / ".lock").exists, process)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "Stopped by SIGTERM before or after the training steps" in error


def test_sigterm_over_and_over_is_one(folder, tmp_path, monkeypatch, capfd):
    from keras_mixers.training.tensorflow_backend import TensorFlowEngine

    take = TensorFlowEngine.train_step

    def impatient(self, parts):
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        return take(self, parts)

    monkeypatch.setattr(TensorFlowEngine, "train_step", impatient)
    assert run(folder, tmp_path) == 75
    assert "Stopped by SIGTERM after step 1;" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000001.npz"]


def test_a_second_signal_ends_it_at_once(folder, tmp_path, monkeypatch, capfd):
    from keras_mixers.training.tensorflow_backend import TensorFlowEngine

    def impatient(self, parts):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TensorFlowEngine, "train_step", impatient)
    assert run(folder, tmp_path) == 130
    assert "stopped by SIGINT" in capfd.readouterr().err


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


def test_too_many_unreadable_images_end_the_run_with_their_names(tmp_path, capfd):
    folder = image_files.write_folder(tmp_path / "data")
    bad = folder / "train" / "bee" / "2.jpg"
    bad.write_bytes(b"\xff\xd8\xff nothing")
    assert run(folder, tmp_path / "strict", "--max-unreadable", "0.01") == 1
    error = capfd.readouterr().err
    assert "1 of 24 images of train could not be read" in error
    assert str(bad) in error
    assert run(folder, tmp_path / "lax", "--max-unreadable", "0.05") == 0
    noted = (tmp_path / "lax" / "unreadable_images.txt").read_text().splitlines()
    assert len(noted) == 1
    assert noted[0].startswith(f"{bad}: ")
    assert [line["unreadable"] for line in log(tmp_path / "lax", "epoch")] == [1] * 2
    assert re.search(
        r"unreadable images +\| 1 [^$]*, unreadable_images.txt \|$",
        (tmp_path / "lax" / "summary.md").read_text(),
    )


def test_no_image_to_evaluate_on(tmp_path, capfd):
    folder = image_files.write_folder(tmp_path / "data")
    for path in (folder / "validation").rglob("*.jpg"):
        path.write_bytes(b"nothing")
    assert run(folder, tmp_path / "run", "--max-unreadable", "1") == 1
    error = capfd.readouterr().err
    assert "None of the 12 images of validation could be read" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("answer", ["", *extended("UnavailableError")])
def test_a_fault_of_the_moment_is_nobodys_image(tmp_path, capfd, monkeypatch, answer):
    import tensorflow as tf

    from keras_mixers.data.dataset import ImageData

    folder = image_files.write_folder(tmp_path / "data")
    (folder / "train" / "bee" / "2.jpg").write_bytes(b"nothing")

    def why(self, index, config):
        if answer:
            raise getattr(tf.errors, answer)(None, None, "no route to the bucket")
        return ""

    monkeypatch.setattr(ImageData, "why_unreadable", why)
    assert run(folder, tmp_path / "run") == (75 if answer else 0)
    error = capfd.readouterr().err
    assert ("no route to the bucket" if answer else "2.jpg; it can be read now") in error
    assert not (tmp_path / "run" / "unreadable_images.txt").exists()


def test_too_little_memory_is_one_sentence(folder, tmp_path, capfd, monkeypatch):
    import tensorflow as tf

    from keras_mixers.training.tensorflow_backend import TensorFlowEngine

    def no_room(self, parts):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    monkeypatch.setattr(TensorFlowEngine, "train_step", no_room)
    assert run(folder, tmp_path) == 1
    assert "raise --gradient-accumulation-steps or lower --batch-size" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["UnavailableError", *extended("AbortedError")])
def test_a_lost_device_is_said_and_can_be_started_again(folder, tmp_path, capfd, monkeypatch, kind):
    import tensorflow as tf

    from keras_mixers.training.tensorflow_backend import TensorFlowEngine

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
    assert "Continuing after step 4 of 6" in capfd.readouterr().err


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


def test_a_disk_that_tensorboard_finds_full(folder, tmp_path, capfd, monkeypatch):
    import tensorflow as tf

    from keras_mixers.training.logging import Log

    def full(self, kind, step, values):
        raise tf.errors.ResourceExhaustedError(None, None, "events; No space left on device")

    record = Log.record
    monkeypatch.setattr(Log, "record", lambda *a: (full if a[2] > 3 else record)(*a))
    assert run(folder, tmp_path, "--checkpoint-steps", "1") == 1
    error = capfd.readouterr().err
    assert "cannot be written: No space left" in error
    assert "Make room" in error
    assert f"go on from {tmp_path}/checkpoints/step-" in error


def test_a_disk_that_is_full_at_the_very_end(folder, tmp_path, capfd, monkeypatch):
    """While models are written, signals are the command's own again."""
    during, before = [], signal.getsignal(signal.SIGTERM)

    def full(engine, folder, ema):
        during.append(signal.getsignal(signal.SIGTERM))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder, "save_models", full)
    assert run(folder, tmp_path, "--epochs", "1") == 1
    error = capfd.readouterr().err
    assert "cannot be written" in error
    assert "Traceback" not in error
    assert checkpoints.load(sorted((tmp_path / "checkpoints").iterdir())[-1])
    assert during == [before]
