"""What fine_tuning.py and resolution.py train on and count."""

import dataclasses

import numpy as np
import pytest

from benchmarks import fine_tuning, resolution
from keras_mixers import presets
from tests.helpers import image_files

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(image_files.write_folder(tmp_path_factory.mktemp("images"), per_class=6))


def test_the_halves_share_no_class(folder):
    first, second = fine_tuning.halves(folder, "train")
    assert (first.classes, second.classes) == (("ant",), ("bee", "cow"))
    assert all("/ant/" in path for path in first.paths)
    names = [second.classes[label] for label in second.labels]
    assert all(f"/{name}/" in path for name, path in zip(names, second.paths, strict=True))
    assert len(first) + len(second) == 18


def test_a_few_of_each_class_by_the_seed(folder):
    _, source = fine_tuning.halves(folder, "train")
    chosen = fine_tuning.few(source, 2, seed=1)
    assert np.bincount(chosen.labels).tolist() == [2, 2]
    assert len(set(chosen.paths)) == 4
    assert list(fine_tuning.few(source, 2, seed=1).paths) == list(chosen.paths)
    assert list(fine_tuning.few(source, 2, seed=2).paths) != list(chosen.paths)


@pytest.mark.parametrize("module", [fine_tuning, resolution])
def test_arguments_that_cannot_be_used(module, folder, capsys):
    flags = {fine_tuning: ("--per-class", "1"), resolution: ("--sizes", "50")}
    for words in ((folder, *flags[module]), (f"{folder}/nowhere",)):
        with pytest.raises(SystemExit) as end:
            module.main(list(words))
        assert end.value.code == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        assert "must be" in error or "must hold" in error


@pytest.mark.slow
def test_resolution_prints_its_table(folder, capsys, monkeypatch):
    small = dict(batch_size=6, warmup_epochs=0.5, checkpoint_minutes=10.0)
    load = presets.load
    monkeypatch.setattr(presets, "load", lambda name: dataclasses.replace(load(name), **small))
    command = [folder, "--recipes", "digits_mixer", "--sizes", "48", "128", "--epochs", "2"]
    assert resolution.main(command) == 0
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells[0] == "48 x 48"
    assert cells.count("-") == 2  # No block_diagonal from 64 to 48.
    assert "-" not in [cell.strip() for cell in lines[3].split("|")]
