"""What the package promises as a whole: names, imports, who may know whom."""

import ast
import importlib
import inspect
import pathlib
import subprocess
import sys

import pytest

import keras_mixers

ROOT = pathlib.Path(__file__).resolve().parents[1]
FAMILY_BUILDERS = [getattr(keras_mixers, name) for name in keras_mixers.VARIANTS]
PLACES = ["keras_mixers", "keras_mixers.layers", "keras_mixers.weights", "keras_mixers.models"]
MODULES = sorted((ROOT / "keras_mixers").rglob("*.py"))


def imported(path):
    """Full names of all that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def within(name, packages):
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def families():
    """Names of the modules of keras_mixers/models that hold a family."""
    return {family.__module__.rpartition(".")[2] for family in FAMILY_BUILDERS}


def is_public(name):
    """Whether `name`, something of keras_mixers, stands in the `__all__` of where it comes from."""
    place, _, last = name.rpartition(".")
    if place not in PLACES:
        return place == ""  # The package itself.
    return last in importlib.import_module(place).__all__


def forbidden_imports(path):
    """What breaks the house's order: keras <- layers <- checkpoints <- models, and nobody back."""
    place = path.relative_to(ROOT).parts
    names = imported(path)
    if place[0] in ("recipes", "tools"):
        ours = [name for name in names if within(name, ["keras_mixers"])]
        private = [name for name in ours if not is_public(name)]
        return private + [name for name in names if within(name, ["keras.src", "tests"])]
    forbidden = ["keras.src", "tensorflow", "jax", "torch", "keras_cv", "recipes", "tools", "tests"]
    if place[1] == "layers":
        forbidden += ["keras_mixers.models", "keras_mixers.weights"]
    if place[1] == "checkpoints":
        forbidden += ["keras_mixers.models"]
        if place[2] == "containers.py":  # Reads PyTorch's files, where PyTorch is installed.
            forbidden.remove("torch")
    if place[1] == "models" and place[2] != "__init__.py":
        others = families() - {path.stem}
        forbidden += [f"keras_mixers.models.{family}" for family in others]
    return [name for name in names if within(name, forbidden)]


@pytest.mark.parametrize(
    "path",
    [p for folder in ("keras_mixers", "recipes", "tools") for p in (ROOT / folder).rglob("*.py")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_dependency_direction(path):
    assert forbidden_imports(path) == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("keras_mixers/layers/x.py", "from keras_mixers.models import assembly"),
        ("keras_mixers/layers/x.py", "from keras_mixers import models"),
        ("keras_mixers/layers/x.py", "from keras_mixers import checkpoints"),
        ("keras_mixers/checkpoints/x.py", "from keras_mixers import models"),
        ("keras_mixers/checkpoints/x.py", "import torch"),
        ("keras_mixers/models/smlpnet.py", "from keras_mixers.models import mlp_mixer"),
        ("keras_mixers/models/smlpnet.py", "import tensorflow as tf"),
        ("keras_mixers/models/smlpnet.py", "def f():\n    from jax import numpy"),
        ("tools/x.py", "from keras.src import backend"),
        ("tools/x.py", "from keras_mixers.layers.checks import rate"),
        ("recipes/x.py", "from keras_mixers.models.assembly import top"),
        ("recipes/x.py", "from keras_mixers.models import assembly"),
    ],
)
def test_the_test_of_the_direction_can_fail(place, line, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert len(forbidden_imports(path)) == 1


def test_public_names_may_be_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "tools").mkdir()
    path = tmp_path / "tools" / "x.py"
    path.write_text("import keras_mixers\nfrom keras_mixers.layers import DropPath")
    assert forbidden_imports(path) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_keras_and_numpy_are_imported(path):
    allowed = {"keras", "numpy", "keras_mixers", *sys.stdlib_module_names}
    if path.parent.name == "checkpoints":  # Imported when a file is read; the first two by Keras.
        allowed |= {"h5py", "ml_dtypes", "safetensors", "torch"}
    assert {name.split(".")[0] for name in imported(path)} <= allowed


@pytest.mark.parametrize("name", PLACES)
def test_public_names_exist_and_are_documented(name):
    module = importlib.import_module(name)
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    for public in module.__all__:
        thing = getattr(module, public)
        if callable(thing):
            assert inspect.getdoc(thing), public
    assert set(keras_mixers.models.__all__) <= set(keras_mixers.__all__)


def test_import_brings_in_no_other_backend():
    """In a fresh process: what `import keras_mixers` loads beyond `import keras`."""
    code = (
        "import sys, keras; before = set(sys.modules); import keras_mixers; "
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = set(ast.literal_eval(run.stdout))
    assert new - set(sys.stdlib_module_names) == {"keras_mixers"}
