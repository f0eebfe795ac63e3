"""What the package promises as a whole: names, imports, who may know whom."""

import ast
import importlib
import inspect
import pathlib
import subprocess
import sys

import pytest

import keras_mixers
from keras_mixers import registration
from tests.helpers.sampling import extended

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Each may import those before it, and itself.
ORDER = (
    *(
        "errors",
        "extras",
        "files",
        "download",
        "layers",
        "preprocessing",
        "weights",
        "models",
        "data",
        "training",
    ),
    *("evaluation", "export", "demo", "tpu", "presets", "commands"),
)
# Import nothing but these when they are imported; `registration` is what imports Keras for them.
LIBRARY = (
    "errors",
    "extras",
    "files",
    "download",
    "registration",
    "layers",
    "preprocessing",
    "weights",
    "models",
)
AT_THE_TOP = {"keras", "numpy", "h5py", "keras_mixers", *sys.stdlib_module_names}
BACKENDS = ("tensorflow", "jax", "torch", "keras_cv")
# The one exception within functions: who may know a backend there, and which.
WITHIN_FUNCTIONS = {
    "preprocessing": ("tensorflow",),
    "weights/formats.py": ("torch",),
}
SCRIPTS = ("recipes", "tools", "benchmarks")
FAMILIES = [getattr(keras_mixers, name).__module__ for name in keras_mixers.VARIANTS]
PLACES = ["keras_mixers", "keras_mixers.layers", "keras_mixers.weights", "keras_mixers.models"]
FILES = sorted(
    path for folder in ("keras_mixers", *SCRIPTS) for path in (ROOT / folder).rglob("*.py")
)


def imported(path, at_the_top=False):
    """Full names of all that a file imports; at its top, or inside functions too."""
    names, nodes = set(), [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if not (at_the_top and is_function):
            nodes += ast.iter_child_nodes(node)
    return names


def within(name, packages):
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def forbidden_imports(path):
    """What a file imports against the order of the packages."""
    place = path.relative_to(ROOT).as_posix()
    forbidden = ["keras.src", "recipes", "tools", "tests"]
    if place.startswith("keras_mixers/"):
        forbidden += ["benchmarks", *_later_than(place), *_backends(place)]
        top = {name for name in imported(path, at_the_top=True) if _is_library(place)}
        foreign = {name for name in top if name.partition(".")[0] not in AT_THE_TOP}
    else:
        foreign = set()
    return sorted({name for name in imported(path) if within(name, forbidden)} | foreign)


def _package(place):
    """The first name below keras_mixers, of a file or a folder; "" of keras_mixers/__init__.py."""
    return place.split("/")[1].removesuffix(".py").replace("__init__", "")


def _is_library(place):
    return _package(place) in (*LIBRARY, "")


def _later_than(place):
    package, module = _package(place), place.removesuffix(".py").replace("/", ".")
    if package not in ORDER:  # __init__.py and registration.py, which know names alone.
        return []
    later = [f"keras_mixers.{other}" for other in ORDER[ORDER.index(package) + 1 :]]
    if module in FAMILIES:
        later += [family for family in FAMILIES if family != module]
    return later


def _backends(place):
    if not _is_library(place):
        return []
    exempt = [
        name
        for part, names in WITHIN_FUNCTIONS.items()
        if place.startswith(f"keras_mixers/{part}")
        for name in names
    ]
    return [name for name in BACKENDS if name not in exempt]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dependency_direction(path):
    assert forbidden_imports(path) == []


def test_every_module_has_its_place_in_the_order():
    packages = {_package(path.relative_to(ROOT).as_posix()) for path in FILES if _of_package(path)}
    assert packages - {"", "registration"} == set(ORDER)


def _of_package(path):
    return path.is_relative_to(ROOT / "keras_mixers")


@pytest.mark.parametrize(
    ("place", "line"),
    [
        *[
            (f"keras_mixers/{earlier}{suffix}", f"from keras_mixers import {later}")
            for earlier, later, suffix in zip(
                ORDER, ORDER[1:], [".py"] * 3 + ["/x.py"] * len(ORDER), strict=False
            )
        ],
        ("keras_mixers/layers/x.py", "from keras_mixers.models import assembly"),
        ("keras_mixers/layers/x.py", "def f():\n    import keras_mixers.weights"),
        ("keras_mixers/data/x.py", "from keras_mixers.commands.cli import prepare"),
        ("keras_mixers/models/smlpnet.py", "from keras_mixers.models import mlp_mixer"),
        ("keras_mixers/models/smlpnet.py", "import tensorflow as tf"),
        ("keras_mixers/models/smlpnet.py", "def f():\n    from jax import numpy"),
        ("keras_mixers/models/x.py", "import keras_cv"),
        ("keras_mixers/weights/x.py", "def f():\n    import torch"),
        ("keras_mixers/weights/formats.py", "import torch"),
        ("keras_mixers/weights/x.py", "import safetensors"),
        ("keras_mixers/preprocessing/x.py", "if True:\n    import tensorflow as tf"),
        ("keras_mixers/preprocessing/x.py", "def f():\n    import jax"),
        ("keras_mixers/files.py", "from etils import epath"),
        ("keras_mixers/__init__.py", "import tensorflow"),
        ("keras_mixers/training/x.py", "from keras.src import backend"),
        ("keras_mixers/commands/x.py", "from recipes import imagenet"),
        ("keras_mixers/commands/x.py", "from benchmarks import turns"),
        ("tools/x.py", "from keras.src import backend"),
        ("tools/x.py", "from tools import demo"),
        ("recipes/x.py", "import recipes.imagenet"),
        ("benchmarks/x.py", "from recipes import digits"),
        ("benchmarks/x.py", "def f():\n    from tests.helpers import losses"),
    ],
)
def test_the_test_of_the_direction_can_fail(place, line, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert len(forbidden_imports(path)) == 1


@pytest.mark.parametrize(
    ("place", "lines"),
    [
        ("keras_mixers/commands/x.py", "import tensorflow\nfrom keras_mixers import presets, tpu"),
        ("keras_mixers/preprocessing/x.py", "def f():\n    import tensorflow"),
        ("keras_mixers/weights/formats.py", "def f():\n    import torch, safetensors"),
        ("keras_mixers/files.py", "def f():\n    from etils import epath"),
        ("benchmarks/x.py", "from benchmarks import turns\nfrom keras_mixers.models import top"),
    ],
)
def test_what_the_order_allows(place, lines, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(lines)
    assert forbidden_imports(path) == []


@pytest.mark.parametrize("name", PLACES)
def test_public_names_exist_and_are_documented(name):
    module = importlib.import_module(name)
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    for public in module.__all__:
        thing = getattr(module, public)
        if callable(thing):
            assert inspect.getdoc(thing), public
    assert set(keras_mixers.models.__all__) <= set(keras_mixers.__all__)


def for_type_checkers(source):
    """Names that a module imports under `if TYPE_CHECKING`, with where they come from."""
    (block,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {alias.name: statement.module for statement in block.body for alias in statement.names}


def test_what_type_checkers_see_is_what_there_is():
    """The names, and each from the module that it really comes from."""
    names = for_type_checkers((ROOT / "keras_mixers" / "__init__.py").read_text())
    assert sorted(names) == sorted(keras_mixers.__all__)
    for name, place in names.items():
        assert getattr(keras_mixers, name) is getattr(importlib.import_module(place), name), name


def test_the_test_of_type_checkers_can_fail():
    source = "if TYPE_CHECKING:\n    from keras_mixers.models import nobody"
    assert for_type_checkers(source) == {"nobody": "keras_mixers.models"}


def test_no_name_is_right_to_type_checkers_because_of_a_getattr():
    """A `__getattr__` that they see makes any misspelled name of the module right to them."""
    hidden = []
    for path in filter(_of_package, FILES):
        body = ast.parse(path.read_text()).body
        assert "__getattr__" not in _functions(body), path
        for node in body:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "not TYPE_CHECKING":
                hidden += [path.parent.name] if "__getattr__" in _functions(node.body) else []
    assert sorted(hidden) == ["keras_mixers", "models", "preprocessing"]


def _functions(body):
    return [node.name for node in body if isinstance(node, ast.FunctionDef)]


def python(code):
    """Returns what a fresh process prints."""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout.strip()


def test_names_are_listed_before_they_are_used():
    listed = python("import keras_mixers; print(*dir(keras_mixers))").split()
    assert set(listed) == {*keras_mixers.__all__, "__version__"}


@pytest.mark.parametrize(
    "line",
    [
        *extended(
            "from keras_mixers import *; SMLPNetT, resize, weights",
            "from keras_mixers import SMLPNetT, resize, weights",
            "import keras_mixers; keras_mixers.SMLPNetT, keras_mixers.resize, keras_mixers.weights",
            "import keras_mixers.models; keras_mixers.models.SMLPNetT",
            "from keras_mixers.layers import DropPath",
        ),
    ],
)
def test_names_are_there_in_a_fresh_process(line):
    assert python(f"{line}\nprint('there')") == "there"


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'keras_mixers' has no attribute 'SMLPNetX'"):
        keras_mixers.SMLPNetX  # noqa: B018
    assert not hasattr(keras_mixers, "training_of_nothing")


def test_import_alone_imports_no_keras():
    code = "import sys, keras_mixers; keras_mixers.__version__, dir(keras_mixers); "
    code += "print(sorted({name.split('.')[0] for name in sys.modules} - set(BEFORE)))"
    before = "import sys; BEFORE = {name.split('.')[0] for name in sys.modules}; "
    new = set(ast.literal_eval(python(before + code)))
    assert new - set(sys.stdlib_module_names) == {"keras_mixers"}


def test_import_brings_in_no_other_backend():
    """What `import keras_mixers` loads beyond `import keras`."""
    code = (
        "import sys, keras; before = set(sys.modules); from keras_mixers import *; "
        "SMLPNetT, resize, weights; "
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    new = set(ast.literal_eval(python(code)))
    assert new - set(sys.stdlib_module_names) <= {"keras_mixers", "h5py"}


@pytest.mark.parametrize(
    "imports",
    [
        *extended("keras_mixers, keras", "keras, keras_mixers"),
        # As TensorFlow looks for Keras, which it imports later.
        "keras_mixers, importlib.util; importlib.util.find_spec('keras'); import keras",
    ],
)
def test_the_layers_are_registered_in_either_order(imports, tmp_path):
    path = tmp_path / "model.keras"
    keras_mixers.MLPMixerS32(input_shape=(32, 32, 3), classes=2, num_blocks=1).save(path)
    code = f"import {imports}; print(keras.models.load_model({str(path)!r}).count_params() > 0)"
    assert python(code) == "True"


def test_two_finders_do_not_ask_each_other(monkeypatch):
    """Where the package is imported anew, as notebooks do, before Keras is."""
    finders = [registration._AfterKeras() for _ in "ab"]
    monkeypatch.setattr(sys, "meta_path", [*finders, *sys.meta_path])
    assert finders[0].find_spec("keras").name == "keras"
