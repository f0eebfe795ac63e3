"""What CONTRIBUTING.md asks of a family, in all its places: a test fails by the family's name."""

import importlib
import pathlib
import re

import pytest

import keras_mixers
from keras_mixers import presets
from keras_mixers.commands import digits
from keras_mixers.evaluation.tables import PUBLISHED_TOP1
from tests import reference
from tests.models import small

FOLDER = pathlib.Path(keras_mixers.models.__file__).parent
NAMES = sorted(
    path.stem for path in FOLDER.glob("*.py") if re.search(r"^FAMILY = ", path.read_text(), re.M)
)


def lacks(name):
    """Returns what a family has not got yet."""
    module = importlib.import_module(f"keras_mixers.models.{name}")
    family = module.FAMILY
    builder = getattr(family.build, "__name__", None)
    rows = [variant.__name__ for variant in family.variants]
    trained = {presets.load(p).model for p in presets.names() if p.startswith("digits_")}
    there = {
        "FAMILY with the name of its file": family.name == name,
        "docstring with the paper's arXiv link": "https://arxiv.org/abs/" in (module.__doc__ or ""),
        "builder by @FAMILY.builder": builder is not None,
        "@FAMILY.from_shapes, as it has foreign names": family.arguments or not family.namings,
        "variant by @FAMILY.variant": len(rows) > 0,
        "preprocess_input": hasattr(module, "preprocess_input"),
        "decode_predictions": hasattr(module, "decode_predictions"),
        "name in keras_mixers.__all__": name in keras_mixers.__all__,
        "line in keras_mixers.VARIANTS": rows
        == [variant.__name__ for variant in keras_mixers.VARIANTS.get(builder, ())],
        "names of all constructors in keras_mixers.__all__": {builder, *rows}
        <= {*keras_mixers.__all__},
        "small model in tests/models/small.py": name in small.BUILDERS,
        "formula in tests/reference.py": hasattr(reference, name),
        "lines in PUBLISHED_TOP1": {*rows} <= {*PUBLISHED_TOP1},
        "model in keras_mixers/commands/digits.py": name in digits.MODELS
        and digits.build(name).family == name
        and digits.training_config(name).model == builder,
        "presets/digits_*.py that trains it": builder in trained,
    }
    return [what for what, is_there in there.items() if not is_there]


@pytest.mark.parametrize("name", NAMES)
def test_a_family_is_complete(name):
    assert lacks(name) == []


def test_every_public_family_is_tested():
    assert {f"keras_mixers.models.{name}" for name in NAMES} == {
        getattr(keras_mixers, builder).__module__ for builder in keras_mixers.VARIANTS
    }


def test_the_test_of_families_can_fail(monkeypatch):
    monkeypatch.setattr(digits, "MODELS", ("mlp_mixer", "smlpnet"))
    monkeypatch.delattr(keras_mixers.s2_mlp, "preprocess_input")
    assert lacks("s2_mlp") == ["preprocess_input", "model in keras_mixers/commands/digits.py"]
