"""--help of every command: at once, which is without Keras, and where little is installed."""

import os
import pathlib
import subprocess
import sys

import pytest

from keras_mixers.commands import COMMANDS

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEAVY = {"keras", "tensorflow", "jax", "torch"}
# Without an extra there is no more than Keras, NumPy and h5py; tyro makes some of the help.
ABSENT = (*HEAVY, "ai_edge_litert", "etils", "libtpu", "matplotlib", "sklearn", "tabulate", "tqdm")
_WITHOUT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in {absent} else self.finder.find_spec(name, *rest)

sys.meta_path[:] = map(Without, sys.meta_path)
from keras_mixers import commands
commands.main([{name!r}, *(sys.argv[1:] or ["--help"])])
"""
SCRIPTS = sorted((*(ROOT / "recipes").glob("*.py"), *(ROOT / "tools").glob("*.py")))


def run(*arguments, cwd=ROOT, **options):
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, **options)


def imported(report):
    """Returns the names in what `python -X importtime` reports."""
    lines = [line for line in report.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_no_keras(name):
    done = run("-X", "importtime", "-m", "keras_mixers.commands", name, "--help")
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"usage: keras-mixers {name}" in done.stdout
    assert "keras_mixers.commands" in imported(done.stderr)
    assert not HEAVY & imported(done.stderr)


def test_the_test_of_imports_can_fail():
    done = run("-X", "importtime", "-c", "import wave")
    assert "wave" in imported(done.stderr)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_extra(name):
    done = run("-c", _WITHOUT.format(absent=ABSENT, name=name))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "usage:" in done.stdout


def test_what_is_missing_is_said_in_one_sentence():
    done = run("-c", _WITHOUT.format(absent=ABSENT, name="evaluate"), "m.tflite", "--data", "d")
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("keras-mixers evaluate: error: this command needs tensorflow, etils, ta")
    assert line.endswith('fix it by: pip install "keras_mixers[export,tensorflow,train]"')


def test_help_lists_every_command_with_a_line():
    done = run("-m", "keras_mixers.commands", "--help")
    assert done.returncode == 0
    listed = [line.split(None, 1) for line in done.stdout.splitlines() if line.startswith("  ")]
    assert listed == [[name, about] for name, about in COMMANDS.items()]


def test_every_module_of_a_command_is_a_command():
    folder = ROOT / "keras_mixers" / "commands"
    with_main = {
        path.stem.replace("_", "-")
        for path in folder.glob("[!_]*.py")
        if "\ndef main(" in path.read_text()
    }
    assert with_main == set(COMMANDS)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_its_command_wherever_it_is_started(path, tmp_path):
    assert len(path.read_text().splitlines()) <= 40
    (tmp_path / "keras_mixers.py").write_text("raise ImportError('not that of the clone')")
    settings = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = run(path, "--help", cwd=tmp_path, env=settings)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"usage: keras-mixers {path.stem.replace('_', '-')}" in done.stdout


def test_every_command_has_its_script():
    assert {path.stem.replace("_", "-") for path in SCRIPTS} == set(COMMANDS)


def test_an_unknown_command_is_refused_in_one_sentence():
    done = run("-m", "keras_mixers.commands", "finetun")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("Received: finetun. Did you mean finetune?")
    assert run("-m", "keras_mixers.commands").returncode == 2


def test_version():
    import keras_mixers

    done = run("-m", "keras_mixers.commands", "--version")
    assert done.stdout == f"keras_mixers {keras_mixers.__version__}\n"
