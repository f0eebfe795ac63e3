"""Runs that are killed, at any moment, end as if they had not been."""

import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import keras_mixers  # noqa: F401  Its layers are in the models that are loaded.
from keras_mixers.training import checkpoints
from tests.helpers import image_files
from tests.helpers.train_command import SMALL

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

ROOT = pathlib.Path(__file__).resolve().parents[2]
KILLS = 20


def start(folder, out, *arguments, **environment):
    command = [sys.executable, "recipes/imagenet.py", *SMALL, "--data", str(folder)]
    return subprocess.Popen(
        [*command, "--out", str(out), *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def newest(out):
    return sorted((out / "checkpoints").glob("step-*.npz"))[-1]


def steps_in_log(out):
    path = out / "log.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines() if line[-1] == "}"]


def test_twenty_kills_change_no_bit(tmp_path, capsys):
    """Checkpoints every step, so that many a kill comes while one is being written."""
    folder = image_files.write_folder(tmp_path / "data", per_class=54)
    settings = ("--deterministic", "--checkpoint-steps", "1", "--epochs", "20", "--flip")
    settings += ("--mixup", "0.5", "--randaugment", "increasing", "--drop-path-rate", "0.2")
    process = start(folder, tmp_path / "whole", *settings)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 0, error[-3000:]

    # 20 epochs of 20 steps: enough for 20 kills after up to 20 steps each, every second one as
    # soon as a checkpoint is seen to be written.
    out, dice = tmp_path / "killed", random.Random(0)
    reached, halves = [], 0
    while len(reached) < KILLS:
        process = start(folder, out, *settings)
        # Not before it has begun, or all kills would be of the start.
        end = (reached[-1] if reached else 0) + dice.randrange(20)
        while process.poll() is None and at(out) <= end:
            time.sleep(dice.random() * 0.02)
        if len(reached) % 2:
            while process.poll() is None and not list((out / "checkpoints").glob("*.part")):
                pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == 0:
            break
        reached.append(at(out))
        halves += bool(list((out / "checkpoints").glob("*.part")))
    process = start(folder, out, *settings)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 0, error[-3000:]

    whole, killed = (checkpoints.load(newest(path)) for path in (tmp_path / "whole", out))
    assert newest(out).name == newest(tmp_path / "whole").name
    for name, values in whole[0].items():
        for value, same in zip(values, killed[0][name], strict=True):
            np.testing.assert_array_equal(same, value)
    assert killed[1]["history"] == whole[1]["history"]
    assert steps_in_log(out) == steps_in_log(tmp_path / "whole")
    with capsys.disabled():
        print(
            f"\n{len(reached)} SIGKILLs, after steps {reached}, {halves} of them while a "
            f"checkpoint was being written; {sum(map(len, whole[0].values()))} arrays are "
            "bit-identical."
        )
    assert len(reached) == KILLS
    assert halves > 0


def at(out):
    paths = sorted((out / "checkpoints").glob("step-*.npz")) if out.exists() else []
    return int(paths[-1].stem.removeprefix("step-")) if paths else 0


def job(folder, out, *arguments):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return [
        start(
            folder,
            out,
            *("--multi-host", "--epochs", "2000", "--checkpoint-steps", "5", *arguments),
            KERAS_BACKEND="jax",
            JAX_PLATFORMS="cpu",
            KERAS_DISTRIBUTION_JOB_ADDRESSES=f"127.0.0.1:{port}",
            KERAS_DISTRIBUTION_NUM_PROCESSES="2",
            KERAS_DISTRIBUTION_PROCESS_ID=str(process),
        )
        for process in (0, 1)
    ]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_job_that_loses_a_process_says_so_and_resumes(tmp_path, victim, capsys):
    folder = image_files.write_folder(tmp_path / "data")
    processes = job(folder, tmp_path / "out")
    wait_until(lambda: at(tmp_path / "out") >= 10, processes)
    processes[victim].send_signal(signal.SIGKILL)
    survivor = processes[1 - victim]
    began = time.monotonic()
    _, error = survivor.communicate(timeout=300)
    with capsys.disabled():
        print(
            f"\nprocess {victim} killed: the other ended after {time.monotonic() - began:.1f} s "
            f"with status {survivor.returncode} and:\n{error.splitlines()[-1][:300]}"
        )
    assert survivor.returncode == 75, error[-3000:]
    assert "start the same command again" in error
    assert "waiting, up to 5 minutes, for all processes of the job (127.0.0.1:" in error
    processes[victim].communicate()

    before = at(tmp_path / "out")
    processes = job(folder, tmp_path / "out")
    wait_until(lambda: at(tmp_path / "out") >= before + 10, processes)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [75, 75], errors
    assert f"Continuing after step {before}" in errors[0]


def test_a_job_that_ends_leaves_all_that_one_process_leaves(tmp_path):
    """With bad images, which each process meets, and checkpoints by the first one's clock."""
    folder = image_files.write_folder(tmp_path / "data")
    for path in (folder / "train" / "bee").iterdir():
        path.write_bytes(b"nothing")
    settings = ("--epochs", "20", "--ema-decay", "0.9", "--max-unreadable", "1")
    processes = job(folder, tmp_path / "out", *settings, "--checkpoint-minutes", "0.002")
    errors = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert len((tmp_path / "out" / "unreadable_images.txt").read_text().splitlines()) == 8
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.keras", "model_ema.keras", "summary.md", "curves.png"} <= left
    one, averaged = (
        keras.models.load_model(tmp_path / "out" / name).get_weights()
        for name in ("model.keras", "model_ema.keras")
    )
    assert not np.array_equal(one[0], averaged[0])


def wait_until(condition, processes, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        for process in processes:
            assert process.poll() is None, process.stderr.read()[-3000:]
        assert time.monotonic() < end
        time.sleep(0.05)
