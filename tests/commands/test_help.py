"""--help of every command: at once, which is without Keras."""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys

import pytest

from keras_mixers.commands import COMMANDS

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEAVY = {"keras", "tensorflow", "jax", "torch"}
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


def shown_of_settings():
    """The help of each setting of a training, by its name."""
    from keras_mixers.training import config

    source = pathlib.Path(config.__file__).read_text()
    pairs = re.findall(r'^    (\w+): .*\n    """(.+)"""$', source, re.MULTILINE)
    assert [name for name, _ in pairs] == [
        f.name for f in dataclasses.fields(config.TrainingConfig)
    ]
    return dict(pairs)


def test_a_source_is_named_in_full_and_beside_its_own_value():
    """So that it stays true where a recipe has another default. Those here are the sources'."""
    from keras_mixers.training.config import TrainingConfig

    found = 0
    for name, shown in shown_of_settings().items():
        assert not re.search(r"\((Table|section)|not in the paper", shown), shown
        if match := re.search(r"\([^()]*: (?:[^()]*, )?([\w.,-]+)\)\.$", shown):
            default = getattr(TrainingConfig(), name)
            default = default[0] if isinstance(default, tuple) else default
            value = match[1].replace(",", "").replace("none", "0")
            assert value == str(default) or float(value) == default, shown
            found += 1
        else:
            assert not re.search("Mixer paper,|our choice", shown) or name == "resize", shown
    assert found > 30


@pytest.mark.parametrize("name", ["imagenet", "finetune"])
def test_help_says_what_the_sources_are_and_shows_no_empty_default(name):
    shown = " ".join(run("-m", "keras_mixers.commands", name, "--help").stdout.split())
    assert "the Mixer paper is https://arxiv.org/abs/2105.01601" in shown
    assert "(default: )" not in shown


def argparse_help(name):
    """Every option of a command with its help, from the text that it prints."""
    text = run("-m", "keras_mixers.commands", name, "--help").stdout
    text = text[re.search(r"^(positional arguments|options):$", text, re.MULTILINE).start() :]
    entries = re.split(r"\n  (?=[-\w])", text)[1:]
    for entry in entries:
        flag, _, shown = entry.partition("\n") if "\n      " in entry else (entry, "", "")
        first, *more = re.split(r" {2,}", flag.strip(), maxsplit=1)
        words = " ".join([*more, *shown.split("\n\n")[0].split()])
        yield first, words


@pytest.mark.parametrize("name", sorted({*COMMANDS} - {"imagenet", "finetune", "convert-weights"}))
def test_every_option_is_explained_by_a_phrase(name):
    """Three words or more that are no default, and none that only begin after the flag's name."""
    options = dict(argparse_help(name))
    assert any(flag.startswith("-h") for flag in options)
    for flag, shown in options.items():
        phrase = re.sub(r"\(default: .*\)$", "", shown)
        assert len(phrase.split()) >= 3 or re.match("show|models|kinds", phrase), (flag, shown)
        assert not re.match(r"(of|for|by|or|to|how|see|instead|the) ", phrase), (flag, shown)


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
