import argparse
import configparser
import importlib.metadata
import pathlib
import re

import pytest

from keras_mixers.commands import cli


@pytest.mark.parametrize(
    ("installed", "refused"),
    [
        ({"tensorflow-tpu": "2.20.0", "libtpu": "0.0.32"}, True),
        ({"tensorflow-tpu": "2.20.0", "libtpu": "0.0.52.1"}, True),
        ({"tensorflow-tpu": "2.20.0", "libtpu": "0.0.31"}, False),
        ({"tensorflow-tpu": "2.21.0", "libtpu": "0.0.52"}, False),
        ({"tensorflow-tpu": "2.20.0"}, False),
        ({"libtpu": "0.0.52"}, False),
        ({}, False),
    ],
)
def test_a_pair_that_aborts_is_refused_before_it_is_loaded(monkeypatch, capsys, installed, refused):
    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    parser = argparse.ArgumentParser(prog="tool")
    if not refused:
        cli._refuse_libtpu_that_aborts(parser)
        return
    with pytest.raises(SystemExit) as stop:
        cli._refuse_libtpu_that_aborts(parser)
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith('fix it by: pip install "libtpu<0.0.32"')
    assert installed["libtpu"] in last


def installed_by(extra):
    """Returns the names of the packages that setup.cfg lists for an extra, without versions."""
    setup = configparser.ConfigParser()
    setup.read(pathlib.Path(__file__).resolve().parents[2] / "setup.cfg")
    lines = setup["options.extras_require"][extra].splitlines()
    return {re.split(r"[<>=\[]", line)[0].lower() for line in lines if line.strip()}


@pytest.mark.parametrize("extra", cli.EXTRAS)
def test_an_extra_installs_what_is_said_of_it(extra):
    distributions = importlib.metadata.packages_distributions()
    for module in cli.EXTRAS[extra]:
        assert {name.lower() for name in distributions[module]} & installed_by(extra), module


def test_the_test_of_extras_can_fail():
    assert "tyro" in installed_by("train")
    assert "tyro" not in installed_by("export")


def test_what_is_missing_is_one_sentence_with_the_extras(monkeypatch, capsys):
    find = importlib.util.find_spec
    missing = ("tyro", "sklearn")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in missing else find(name)
    )
    parser = argparse.ArgumentParser(prog="tool")
    cli.require(parser, ("tabulate",))
    with pytest.raises(SystemExit) as stop:
        cli.require(parser, ("tyro", "tabulate", "sklearn"))
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "tool: error: this command needs tyro, sklearn, which cannot be found; fix it by: "
        'pip install "keras_mixers[recipes,train]"'
    )
