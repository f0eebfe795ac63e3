"""What the README promises: its commands, its examples and its numbers."""

import functools
import pathlib
import re

import pytest
import tensorflow as tf

import keras_mixers
from tests.helpers.sampling import extended

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()

pytestmark = pytest.mark.tensorflow

# Of the variants in the examples.
FEWER_BLOCKS = {
    "MLPMixerB16": {"num_blocks": 1},
    "MLPMixerS16": {"num_blocks": 1},
    "MLPMixerS32": {"num_blocks": 1},
    "SMLPNetT": {"depths": (1, 1, 1, 1)},
}


def test_the_two_commands_stand_on_the_first_screen():
    first_screen = README.splitlines()[:40]
    assert 'pip install -e ".[recipes]" && python recipes/digits.py' in first_screen
    assert 'pip install -e ".[test]" && pytest -n 2' in first_screen


@pytest.mark.parametrize("blocks", ["few", *extended("all")])
def test_python_examples_run(blocks, tmp_path, monkeypatch, rng, capsys):
    """With random weights and invented names: what is published is not downloaded for a test."""
    from keras_mixers import weights
    from keras_mixers.models import class_lists

    names = [(f"n{number:08}", f"class {number}") for number in range(1000)]
    monkeypatch.setattr(weights, "path_of", lambda variant, name: None)
    monkeypatch.setattr(class_lists, "of", {1000: names}.get)
    if blocks == "few":
        for name, fewer in FEWER_BLOCKS.items():
            whole = getattr(keras_mixers, name)
            monkeypatch.setattr(keras_mixers, name, functools.partial(whole, **fewer))
    monkeypatch.chdir(tmp_path)
    cat = tf.io.encode_jpeg(rng.integers(0, 256, (300, 400, 3)).astype("uint8"))
    (tmp_path / "cat.jpg").write_bytes(cat.numpy())
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) == 5
    assert set(re.findall(r"keras_mixers\.([A-Z]\w+)\(", "".join(examples))) == {*FEWER_BLOCKS}
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "mixer.keras").exists()
    printed = capsys.readouterr().out
    assert re.search(r"\[\('n\d{8}', 'class \d+', 0\.\d+\), ", printed)
    assert "\nMLPMixerB16 imagenet21k 224 x 224, central crop 0.875, bilinear" in printed
    assert "['SMLPNetT', 'SMLPNetS', 'SMLPNetB']" in printed


@pytest.mark.parametrize("name", ["README.md", "recipes/README.md", "docs/mobile.md"])
def test_tables_in_the_output_of_commands_are_aligned(name):
    """As a command prints them, all lines of a table are of one length."""
    text = (ROOT / name).read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    outputs = "\n".join(block for language, block in blocks if not language)
    tables = re.findall(r"(?:^\|.*\n)+", outputs, re.MULTILINE)
    assert tables
    for table in tables:
        assert len({len(line) for line in table.splitlines()}) == 1, table


def test_the_table_of_weights_is_what_the_tool_prints():
    from keras_mixers.evaluation import tables

    assert tables.weights() in README


@pytest.mark.extended
def test_the_tables_are_what_the_tool_prints():
    from keras_mixers.evaluation import costs, tables

    assert tables.table() in README
    assert costs.growth() in README
