"""What is missing is one sentence, and each extra holds all that its commands import."""

import ast
import configparser
import importlib.metadata
import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import pytest

from keras_mixers import extras
from keras_mixers.commands import COMMANDS, options
from keras_mixers.errors import UsageError

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The extras that each command is promised to run with, in the table of the README.
PROMISED = {
    "imagenet": [("tensorflow", "train")],
    "finetune": [("train", "export")],
    "digits": [("recipes",)],
    "evaluate": [("tensorflow", "train"), ("export",)],
    "export": [("export",)],
    "demo": [("export",)],
    "convert-weights": [("tensorflow", "weights")],
    "make-shards": [("tensorflow", "train")],
    "model-table": [("tensorflow", "weights"), ("export",)],
    "tpu-plan": [("plan",)],
    "tpu-table": [("plan",)],
}
# Imported where somebody asks for them, after a check or beside an alternative.
OPTIONAL = {
    "array_record": "a set was prepared as ArrayRecord files",
    "ai_edge_litert": "a .tflite file is evaluated",
    "jax": "Keras runs on JAX",
    "jaxlib": "it comes with jax",
    "PIL": "there is no TensorFlow to decode an image, or it does not read the format",
    "pillow_heif": "an image is a HEIC file",
    "safetensors": "weights are written as .safetensors",
    "sklearn": "the data are the digits",
    "tensorflow_datasets": "the data are a set of tensorflow-datasets",
    "tifffile": "an image is a TIFF file that Pillow does not read",
}
EXTRAS = extras.EXTRAS
BASE = {"keras", "numpy", "h5py", "ml_dtypes", "keras_mixers", *sys.stdlib_module_names}
ARGUMENTS = {
    "evaluate": ["model.tflite", "--data", "digits"],
    "export": ["model.keras", "out"],
    "demo": ["model.tflite"],
    "convert-weights": ["in.npz", "out.keras"],
    "make-shards": ["images", "out"],
}
_IN_ONE_PROCESS = """
import contextlib, io, json, sys, traceback

absent, runs = json.loads(sys.argv[1])

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in absent else self.finder.find_spec(name, *rest)

sys.meta_path[:] = map(Without, sys.meta_path)
from keras_mixers import commands
ends = []
for arguments in runs:
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            commands.main(arguments)
        except SystemExit as end:
            status = end.code
        except BaseException:
            status = traceback.format_exc()
    ends.append((status, out.getvalue(), errors.getvalue()))
print(json.dumps(ends))
"""


@pytest.fixture(scope="module")
def in_a_bare_environment():
    """How every command ends beside nothing but the package, with --help and without."""
    absent = sorted({name for names in extras.EXTRAS.values() for name in names} | {"torch"})
    runs = [[name, *more] for name in COMMANDS for more in (["--help"], ARGUMENTS.get(name, []))]
    given = json.dumps([absent, runs])
    done = subprocess.run(
        [sys.executable, "-c", _IN_ONE_PROCESS, given], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ends = json.loads(done.stdout)
    return {(run[0], run[1:] == ["--help"]): end for run, end in zip(runs, ends, strict=True)}


@pytest.mark.parametrize("name", COMMANDS)
def test_without_packages_a_command_ends_in_one_sentence(in_a_bare_environment, name):
    status, _, errors = in_a_bare_environment[name, False]
    assert status == 2, status
    line = errors.splitlines()[-1]
    assert line.startswith(f"keras-mixers {name}: error: this command needs ")
    needed = PROMISED[name][0] if name not in ("evaluate", "finetune") else None
    needed = {"evaluate": ("recipes",), "finetune": ("tensorflow", "train")}.get(name, needed)
    assert line.endswith(f'fix it by: pip install "keras_mixers[{",".join(needed)}]"')


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_extra_but_for_the_settings_of_a_training(in_a_bare_environment, name):
    status, shown, errors = in_a_bare_environment[name, True]
    if name in ("imagenet", "finetune"):
        assert status == 2, status
        assert errors.splitlines()[-1].endswith(
            "this command needs pydantic, tyro, which cannot be found; fix it by: "
            'pip install "keras_mixers[train]"'
        )
    else:
        assert status == 0, status
        assert f"usage: keras-mixers {name}" in shown


@pytest.mark.parametrize(
    ("modules", "extra"),
    [
        (["tensorflow"], "tensorflow"),
        (["tqdm", "tabulate"], "train"),
        (["tensorflow", "etils", "pydantic", "tabulate"], "tensorflow,weights"),
        (["tensorflow", "ai_edge_litert", "tqdm"], "export"),
        (["tyro", "ai_edge_quantizer"], "train,export"),
        (["tensorflow", "jax", "libtpu", "matplotlib"], "plan"),
        (["tensorflow", "sklearn", "ai_edge_litert", "tyro"], "recipes"),
    ],
)
def test_the_shortest_command_that_installs_what_is_missing(modules, extra):
    assert extras.install(modules) == f'pip install "keras_mixers[{extra}]"'


def test_what_is_missing_is_one_sentence(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sklearn" else find(name)
    )
    extras.require("--data digits", ("numpy",))
    with pytest.raises(UsageError) as error:
        extras.require("--data digits", ("numpy", "sklearn"))
    assert str(error.value) == (
        "--data digits needs sklearn, which cannot be found; fix it by: "
        'pip install "keras_mixers[recipes]"'
    )


def test_a_name_of_data_without_tensorflow_datasets_is_one_sentence(monkeypatch):
    from keras_mixers.data.sources import open_source

    monkeypatch.setattr(extras, "missing", list)
    with pytest.raises(UsageError, match=r"^No data: .*pip install .keras_mixers\[train\]"):
        open_source("imagenet2012", "nowhere", "train")


def installed_by(extra):
    """Returns the names of the packages that setup.cfg lists for an extra, without versions."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.extras_require"][extra].splitlines()
    names = {re.split(r"[<>=]", line)[0].lower() for line in lines if line.strip()}
    others = {name for name in names if name.startswith("keras_mixers[")}
    for other in ",".join(other[len("keras_mixers[") : -1] for other in others).split(","):
        names |= installed_by(other) if other else set()
    return {name.partition("[")[0] for name in names - others if not name.startswith("#")}


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_an_extra_installs_what_is_said_of_it(extra):
    distributions = importlib.metadata.packages_distributions()
    said = {
        module: {name.lower().replace("_", "-") for name in distributions[module]}
        for module in EXTRAS[extra]
    }
    for module, names in said.items():
        assert names & installed_by(extra), module
    assert installed_by(extra) - {"keras"} <= set().union(*said.values())


def imported_by(module):
    """Returns the packages that a module, and what it imports of ours, imports at any time."""
    found, seen, left = {}, set(), [module]
    while left:
        name = left.pop()
        paths = [ROOT.joinpath(*name.split(".")).with_suffix(".py")]
        paths.append(ROOT.joinpath(*name.split("."), "__init__.py"))
        path = next((path for path in paths if path.exists()), None)
        if path is None or path in seen:
            continue
        seen.add(path)
        for other in _names(path):
            left += [other] if other.startswith("keras_mixers.") else []
            found.setdefault(other.partition(".")[0], path.relative_to(ROOT).as_posix())
    return {package: place for package, place in found.items() if package not in BASE}


def _names(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("name", "promised"), [(name, each) for name in COMMANDS for each in PROMISED[name]]
)
def test_the_extras_of_a_command_hold_what_it_imports(name, promised):
    held = set(OPTIONAL).union(*(EXTRAS[extra] for extra in promised))
    imported = imported_by(f"keras_mixers.commands.{name.replace('-', '_')}")
    assert "tensorflow" in imported
    assert {package: place for package, place in imported.items() if package not in held} == {}


def test_the_defaults_in_the_help_are_those_of_the_settings():
    from keras_mixers.evaluation import inputs
    from keras_mixers.training.config import TrainingConfig

    usual = TrainingConfig()
    assert {name: getattr(usual, name) for name in options.DEFAULTS} == options.DEFAULTS
    assert options.DIGITS == inputs.DIGITS
