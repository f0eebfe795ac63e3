"""The command, started again: it goes on where it was, or says why it does not."""

import os
import shutil
import signal

import pytest
from etils import epath

from keras_mixers.commands import imagenet
from keras_mixers.training import checkpoints, lock
from tests.helpers import image_files
from tests.helpers.train_command import SHORTER, log, run

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("undrawn")]
ONE_EPOCH = (*SHORTER, "--epochs", "1")


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


@pytest.fixture
def copied(finished, tmp_path):
    """A finished run that may be changed."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("left", [None, '{"epochs": 3,'])
def test_a_lost_configuration_is_that_of_the_checkpoints(folder, copied, capfd, left):
    tmp_path = copied
    (tmp_path / "config.json").unlink()
    if left is not None:
        (tmp_path / "config.json").write_text(left)
    assert run(folder, tmp_path, "--learning-rate", "0.5") == 2
    assert "--learning-rate: 0.02 in the folder, 0.5 now" in capfd.readouterr().err
    assert run(folder, tmp_path) == 0


def test_a_configuration_of_another_version(folder, copied, capfd):
    tmp_path = copied
    (tmp_path / "config.json").unlink()
    kept = checkpoints.Checkpoints(epath.Path(tmp_path / "checkpoints"), 3)
    step, state, about = kept.load_newest(pytest.fail)
    kept.save(step, state, {**about, "config": {**about["config"], "epoch": 3}})
    assert run(folder, tmp_path) == 2
    error = capfd.readouterr().err
    assert "another version of this command (epoch is no setting. Did you mean epochs?)" in error


def test_the_checkpoint_knows_its_configuration_too(copied, capfd):
    """Where config.json was edited."""
    path = copied / "config.json"
    path.write_text(path.read_text().replace("hidden_dim=16", "hidden_dim=24"))
    assert imagenet.main(["--config", str(path), "--out", str(copied)]) == 2
    error = capfd.readouterr().err
    assert "holds a run of another configuration" in error
    assert "hidden_dim=24" in error


def test_other_data_is_refused(folder, copied, tmp_path, capfd):
    data = image_files.write_folder(tmp_path / "data")
    for split in ("train", "validation"):
        (data / split / "ant").rename(data / split / "asp")
    assert run(data, copied) == 2
    error = capfd.readouterr().err
    assert "--data must be what the run of" in error
    assert "24 images and 12 for validation, in 3 classes of the same names" in error
    assert run(folder, copied) == 0


def test_a_run_without_checkpoints_is_not_written_over(folder, copied, capfd):
    """Killed before its first one, or someone removed them."""
    tmp_path = copied
    shutil.rmtree(tmp_path / "checkpoints")
    before = (tmp_path / "config.json").read_text()
    assert run(folder, tmp_path, "--seed", "1") == 2
    assert "--seed: 0 in the folder, 1 now" in capfd.readouterr().err
    assert (tmp_path / "config.json").read_text() == before
    (tmp_path / "config.json").unlink()
    # Nor does a first start that fails lock the folder.
    assert run(folder, tmp_path, "--image-size", "25") == 2
    assert not (tmp_path / "config.json").exists()
    capfd.readouterr()
    assert run(folder, tmp_path, *ONE_EPOCH) == 0
    assert "another configuration" not in capfd.readouterr().err


def test_a_run_folder_is_one_process_at_a_time(finished, folder, capfd):
    with lock.locked(epath.Path(finished)):
        assert run(folder, finished) == 2
    assert f"--out: {finished} is in use by another process" in capfd.readouterr().err
    assert run(folder, finished) == 0


def test_a_damaged_checkpoint_is_passed_over(folder, copied, capfd):
    tmp_path = copied
    newest = sorted((tmp_path / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    assert run(folder, tmp_path, "--checkpoint-steps", "5") == 0
    error = capfd.readouterr().err
    assert f"{newest} is damaged" in error
    assert "Continuing after step 10 of 12" in error
    assert [line["step"] for line in log(tmp_path, "train")] == [2, 4, 6, 8, 10, 12]
    assert [line["step"] for line in log(tmp_path, "epoch")] == [3, 6, 9, 12]


def test_a_run_that_goes_on_within_a_line_of_the_log_logs_the_same(finished, copied, folder):
    arguments, tmp_path = ("--checkpoint-steps", "5"), copied
    for path in sorted((tmp_path / "checkpoints").iterdir())[1:]:
        path.unlink()
    assert run(folder, tmp_path, *arguments) == 0
    for one, two in zip(log(tmp_path, "train"), log(finished, "train"), strict=True):
        for name in ("step", "loss", "accuracy", "gradient_norm"):
            assert one[name] == pytest.approx(two[name], rel=1e-3), (name, one["step"])


def test_checkpoints_come_by_time(finished, folder, tmp_path):
    arguments = ("--checkpoint-minutes", "0", "--keep-checkpoints", "99", *ONE_EPOCH)
    assert run(folder, tmp_path, *arguments) == 0
    assert len([*(tmp_path / "checkpoints").iterdir()]) == 3
    # It took less than ten minutes: those of each five steps, and the last.
    steps = sorted(int(p.stem.removeprefix("step-")) for p in (finished / "checkpoints").iterdir())
    assert steps == [5, 10, 12]


def test_stopped_while_evaluating_it_evaluates_later(
    finished, folder, tmp_path, monkeypatch, capfd
):
    from keras_mixers.training.tensorflow_backend import TensorFlowEngine

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


def test_unreadable_images_are_noted_once_over_all_starts(tmp_path, capfd):
    folder = image_files.write_folder(tmp_path / "data")
    for name in ("bee/2.jpg", "cow/1.jpg"):
        (folder / "train" / name).write_bytes(b"nothing")
    arguments = ("--max-unreadable", "0.1", "--checkpoint-steps", "1", "--keep-checkpoints", "9")
    arguments += ONE_EPOCH
    assert run(folder, tmp_path / "run", *arguments) == 0
    noted = (tmp_path / "run" / "unreadable_images.txt").read_text()
    assert len(noted.splitlines()) == 2
    for path in sorted((tmp_path / "run" / "checkpoints").iterdir())[1:]:
        path.unlink()
    assert run(folder, tmp_path / "run", *arguments) == 0
    again = (tmp_path / "run" / "unreadable_images.txt").read_text()
    assert sorted(again.splitlines()) == sorted(noted.splitlines())
    assert run(folder, tmp_path / "run", *arguments) == 0  # Meets none of them.
    assert (tmp_path / "run" / "unreadable_images.txt").read_text() == again
