"""What the extra tpu installs, in an environment of its own. No machine of ours has a TPU."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.helpers import image_files

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The libtpu of this environment, once it is imported, names itself in a variable.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("TPU_")} | {
    # Where there is no TPU, libtpu would ask the network for one for half a minute.
    "TPU_SKIP_MDS_QUERY": "1",
    "KERAS_BACKEND": "tensorflow",
}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    install(python, "-e", f"{ROOT}[tpu,train]")
    return python


def install(python, *what):
    subprocess.run([python, "-m", "pip", "install", "--quiet", *what], check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return image_files.write_folder(tmp_path_factory.mktemp("images"))


def train(python, folder, out, *arguments):
    command = ["recipes/imagenet.py", "--recipe", "digits_mixer", "--data", folder, "--out", out]
    command += ["--image-size", "24", "--batch-size", "8", "--epochs", "2"]
    command += ["--model-options", "patch_size=8", "hidden_dim=16", "num_blocks=1"]
    command += ["tokens_mlp_dim=8", "channels_mlp_dim=16", *arguments]
    return subprocess.run(
        [python, *command],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_trains_on_its_cpu(python, folder, tmp_path):
    done = train(python, folder, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "1 CPU device, tensorflow, float32" in done.stderr
    assert (tmp_path / "model.keras").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ((), "TensorFlow says: RET_CHECK failure"),
        (("--tpu-name", "nobody"), "--tpu-name nobody: no TPU answered"),
    ],
)
def test_tpu_without_a_tpu(python, folder, tmp_path, name, words):
    done = train(python, folder, tmp_path, "--tpu", *name)
    assert done.returncode == 2, done.stderr[-2000:]
    (line,) = [
        line for line in done.stderr.splitlines() if line.startswith("keras-mixers imagenet")
    ]
    assert "no TPU answered; start on a TPU VM" in line
    assert words in line
    assert "Traceback" not in done.stderr


def test_newer_libtpu_is_refused_not_loaded(python, folder, tmp_path):
    """The last test of the module: it spoils the environment."""
    install(python, "libtpu>=0.0.32")
    done = train(python, folder, tmp_path)
    assert done.returncode == 2, done.stderr[-2000:]
    assert 'pip install "libtpu<0.0.32"' in done.stderr.splitlines()[-1]
    # The day this does not abort any more, the extra need not hold libtpu back.
    command = [python, "-c", "import tensorflow"]
    aborted = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert aborted.returncode < 0
    assert "ConfigureDistributedTpuOp_DoWork" in aborted.stderr
