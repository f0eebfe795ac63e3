import argparse
import importlib.metadata

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
