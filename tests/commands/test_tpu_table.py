"""The table of all models on all kinds of TPU."""

import json
import pathlib
import subprocess

import pytest

import keras_mixers
from keras_mixers.commands import tpu_table
from keras_mixers.evaluation import costs
from keras_mixers.evaluation.tables import PUBLISHED_TOP1
from keras_mixers.tpu import table

ROOT = pathlib.Path(__file__).resolve().parents[2]
EVERY = [(model, chip) for model in PUBLISHED_TOP1 for chip in table.TOPOLOGIES]


def plan(images=128, images_per_second=4000.0, repeated=0):
    return {
        "chips": 4,
        "images": images,
        "memory": {"parameters": 1e9, "program": 5e8},
        "capacity": 16e9,
        "flops": 9.5e12,
        "traffic": 3e10,
        "bounds": {"arithmetic": 0.05, "memory traffic": 0.02},
        "bound": "arithmetic",
        "images_per_second": images_per_second,
        "share_of_peak": 1.0,
        "largest_traffic": {str(i): 1 for i in range(9)},
        "repeated": repeated,
    }


@pytest.fixture
def docs(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "ROWS", tmp_path / "docs" / "tpu.json")
    return tmp_path / "docs"


def test_rows_are_kept_one_by_one_and_not_compiled_again(docs, monkeypatch, capsys):
    asked = []

    def compiled(model, chip):
        asked.append((model, chip))
        if len(asked) == 3:
            raise RuntimeError(f"{model} on {chip}: too bad")
        return plan()

    monkeypatch.setattr(tpu_table, "compiled", compiled)
    command = ["--models", "MLPMixerB16", "SMLPNetT", "--chips", "v6e", "v4"]
    assert tpu_table.main(command) == 1
    assert "SMLPNetT on v6e: too bad" in capsys.readouterr().err
    assert list(table.rows()) == ["MLPMixerB16 v4", "MLPMixerB16 v6e", "SMLPNetT v4"]
    assert tpu_table.main(command) == 0
    assert asked[4:] == [("SMLPNetT", "v6e")]
    page = (docs / "tpu.md").read_text()
    row = "| MLPMixerB16 | v4     |      128 |    1.5 of 16 |    9.50 |       30.0 |"
    assert row in page
    assert row in capsys.readouterr().out


@pytest.fixture
def planner(monkeypatch):
    """Returns a function that replaces tpu_plan by its answers, and the commands that came."""

    def make(*answers):
        commands, answers = [], list(answers)

        def fake(command, **kwargs):
            commands.append(command[1:])
            status, said = answers.pop(0)
            return subprocess.CompletedProcess(command, status, said, "a reason" * (status == 2))

        monkeypatch.setattr(subprocess, "run", fake)
        return commands

    return make


PRINTED = json.dumps(plan() | {"config": {"model": "MLPMixerB16"}})


def test_a_row_is_what_the_planner_prints(planner):
    commands = planner((0, f"a line before\n{PRINTED}\n"))
    found = tpu_table.compiled("MLPMixerB16", "v4")
    common = ["-m", "keras_mixers.commands", "tpu-plan", "--model", "MLPMixerB16", "--json"]
    common += ["--topology", "v4:2x2x1", "--batch-size", "512"]
    assert commands == [common]
    assert found == plan() | {"largest_traffic": {str(i): 1 for i in range(3)}}


def test_the_largest_batch_where_the_papers_does_not_fit(planner):
    commands = planner((1, '{"model": "M", "fits": false}'), (0, PRINTED))
    assert tpu_table.compiled("MLPMixerH14", "v5e")["images"] == 128
    assert commands[1] == [*commands[0], "--find-batch"]


@pytest.mark.parametrize("answer", [(2, ""), (1, "")])
def test_a_row_that_cannot_be_compiled(planner, answer):
    commands = planner(answer)
    with pytest.raises(RuntimeError, match=r"^SMLPNetT on v6e: "):
        tpu_table.compiled("SMLPNetT", "v6e")
    assert len(commands) == 1


def test_rows_are_compiled_again_when_asked_for(docs, monkeypatch):
    monkeypatch.setattr(tpu_table, "compiled", lambda model, chip: plan(images=64))
    table.keep("SMLPNetT v4", plan())
    asked = ["--models", "SMLPNetT", "--chips", "v4"]
    assert tpu_table.main(asked) == 0
    assert table.rows()["SMLPNetT v4"]["images"] == 128
    assert tpu_table.main([*asked, "--again"]) == 0
    assert table.rows()["SMLPNetT v4"]["images"] == 64


def test_rows_with_fewer_images_are_marked(docs):
    table.keep("MLPMixerH14 v5e", plan(images=40))
    assert "40 (largest)" in (docs / "tpu.md").read_text()


def test_rows_in_which_the_compiler_repeats_operations_are_marked(docs):
    table.keep("MLPMixerS4 v5e", plan(repeated=7))
    assert "| 9.50, repeated |" in (docs / "tpu.md").read_text()
    table.keep("MLPMixerS4 v5e", plan(repeated=0))
    assert "| 9.50 |" in (docs / "tpu.md").read_text().replace("    ", " ")


def test_the_overview_has_images_of_a_chip():
    found = {"SMLPNetT v5e": plan(), "SMLPNetT v4": plan(images_per_second=2000.0)}
    line = table.overview(found).splitlines()[-1]
    assert "`SMLPNetT`" in line
    assert "1,000" in line
    assert "500" in line


def test_the_pages_are_of_the_rows():
    page = table.ROWS.with_suffix(".md").read_text()
    assert page == table.page(table.rows())


def test_the_readme_has_the_overview():
    assert table.overview(table.rows()) in (ROOT / "README.md").read_text()


def most_operations(plan):
    """Returns what the operations may be of those of the model's multiplications, at most.

    A step is two for each multiply-add on the way forward and four on the way back. Where memory is
    short, the compiler computes once more what it cannot keep: up to two again, half of them here.
    """
    return 7 / 6 if plan["repeated"] else 1.1


@pytest.mark.slow
@pytest.mark.parametrize("model", PUBLISHED_TOP1)
def test_the_rows_agree_with_the_multiplications_of_the_model(model):
    macs = costs.multiply_adds(getattr(keras_mixers, model)())
    for chip in table.TOPOLOGIES:
        plan = table.rows()[f"{model} {chip}"]
        assert 0.9 < plan["flops"] / (6 * macs * plan["images"]) < most_operations(plan), chip


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize(("model", "chip"), EVERY)
def test_every_model_on_every_chip(model, chip):
    """Hours of it; `-k` picks some."""
    found, kept = tpu_table.compiled(model, chip), table.rows()[f"{model} {chip}"]
    macs = costs.multiply_adds(getattr(keras_mixers, model)())
    assert 0.9 < found["flops"] / (6 * macs * found["images"]) < most_operations(found)
    for name in ("flops", "traffic", "images_per_second"):
        assert found[name] == pytest.approx(kept[name], rel=0.05), name
    assert sum(found["memory"].values()) <= found["capacity"]


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("model", ["MLPMixerB16", "S2MLPDeep", "SMLPNetT"])
@pytest.mark.parametrize("chip", ["v4", "v5e"])
def test_whole_steps_by_tensorflow(model, chip):
    """Ten minutes each; one model of each family, at the papers' batch."""
    found = tpu_table.compiled(model, chip, "--backend", "tensorflow")
    kept = table.rows()[f"{model} {chip}"]
    assert (found["backend"], found["images"]) == ("tensorflow", kept["images"])
    assert found["flops"] == pytest.approx(kept["flops"], rel=0.05)
    for name in ("parameters", "optimizer state"):
        assert found["memory"][name] == pytest.approx(kept["memory"][name], rel=0.02), name
    # On v4, where there is room, JAX's steps keep more. TensorFlow's products see batch and
    # positions as one axis, for which XLA copies maps of sMLPNet.
    most = 1.4 if model == "SMLPNetT" else 1.2
    assert sum(found["memory"].values()) < most * sum(kept["memory"].values())
