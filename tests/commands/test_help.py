"""--help of every command: at once, which is without Keras."""

import pathlib
import subprocess
import sys

import pytest

from keras_mixers.commands import COMMANDS

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEAVY = {"keras", "tensorflow", "jax", "torch"}
SCRIPTS = sorted((*(ROOT / "recipes").glob("*.py"), *(ROOT / "tools").glob("*.py")))


def run(*arguments, cwd=ROOT):
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True)


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
    done = run(path, "--help", cwd=tmp_path)
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
