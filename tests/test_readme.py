"""What the README promises: its commands, its examples and its numbers."""

import pathlib
import re

import pytest

README = (pathlib.Path(__file__).resolve().parents[1] / "README.md").read_text()

pytestmark = pytest.mark.tensorflow


def test_the_two_commands_stand_on_the_first_screen():
    first_screen = README.splitlines()[:40]
    assert 'pip install -e ".[recipes]" && python recipes/digits.py' in first_screen
    assert 'pip install -e ".[test]" && pytest -n 2' in first_screen


def test_python_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "mixer.keras").exists()


def test_the_table_of_weights_is_what_the_tool_prints():
    from keras_mixers.evaluation import tables

    assert tables.weights() in README


@pytest.mark.slow
def test_the_tables_are_what_the_tool_prints():
    from keras_mixers.evaluation import costs, tables

    assert tables.table() in README
    assert costs.growth() in README
