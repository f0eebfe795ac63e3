"""The table of compiled steps; each compilation is replaced by a plan, or by what it says."""

import importlib.util
import json
import subprocess
import sys

import pytest

from benchmarks import tpu_step

PLAN = {
    "flops": 9.75e12,
    "bounds": {"arithmetic": 0.0495, "memory traffic": 0.0475},
    "traffic": 38.9e9,
    "accessed_by_xla": 41.4e9,
    "memory": {"activations and temporary": 4.38e9},
}


@pytest.fixture
def commands(monkeypatch):
    """Returns the list of commands that were run instead of compiling."""
    run = []

    def fake(command, **kwargs):
        run.append(command[1:])
        failed = "tensorflow" in command
        said = "" if failed else f"a line before\n{json.dumps(PLAN)}\n"
        return subprocess.CompletedProcess(command, int(failed), said, "too bad" if failed else "")

    monkeypatch.setattr(subprocess, "run", fake)
    return run


def test_each_step_is_a_line_and_a_failure_ends_with_1(commands, capsys):
    assert tpu_step.main(["--only", "S2MLPDeep"]) == 1
    out, error = capsys.readouterr()
    assert "S2MLPDeep, by TensorFlow: too bad" in error
    header, _, *lines = out.strip().splitlines()
    assert [line.split("|")[1].strip() for line in lines] == [
        "S2MLPDeep",
        "S2MLPDeep, 96 MiB of VMEM",
        "S2MLPDeep, --remat",
        "S2MLPDeep, --remat, 96 MiB of VMEM",
    ]
    cells = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert cells[1:] == ["9.75", "49.5", "38.9", "47.5", "41.4", "50.5", "4.38"]
    assert len(header.strip("|").split("|")) == len(cells)
    common = ["--topology", "v5e:2x2", "--batch-size", "512", "--model", "S2MLPDeep"]
    assert commands[2] == [
        *("tools/tpu_plan.py", "--json", *common),
        *("--remat", "--tpu-scoped-vmem", "0"),
    ]
    assert commands[3][-3:] == ["--remat", "--tpu-scoped-vmem", "98304"]
    assert commands[4][-2:] == ["--backend", "tensorflow"]


@pytest.mark.parametrize("there", [True, False])
def test_the_flax_model_is_compiled_where_flax_is(there, commands, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: there if name in ("flax", "optax") else find(name),
    )
    if there:
        assert tpu_step.main(["--only", "Flax"]) == 0
        assert [command[-1] for command in commands] == ["0", "98304"]
        assert all(c[:-1] == ["benchmarks/tpu_step.py", "--flax-json"] for c in commands)
    else:
        with pytest.raises(SystemExit):
            tpu_step.main(["--only", "Flax"])
        assert "pip install flax optax" in capsys.readouterr().err


def test_unknown_steps_are_refused(commands, capsys):
    with pytest.raises(SystemExit) as stop:
        tpu_step.main(["--only", "zzz"])
    assert stop.value.code == 2
    assert "argument --only: must be part of " in capsys.readouterr().err
    assert commands == []


@pytest.mark.slow
def test_a_step_of_the_flax_model_has_the_arithmetic_of_ours():
    """Needs flax and optax; minutes."""
    pytest.importorskip("flax")
    pytest.importorskip("optax")
    done = subprocess.run(
        [sys.executable, "benchmarks/tpu_step.py", "--flax-json", "0"],
        cwd=tpu_step.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    flops = json.loads(done.stdout.splitlines()[-1])["flops"]
    assert flops == pytest.approx(6 * 12.602e9 * 128, rel=0.05)
