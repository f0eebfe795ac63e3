"""A family that only these tests know: all that works by a model's blocks works for it too."""

import keras
import numpy as np
import pytest

import keras_mixers
from keras_mixers import weights as weight_files
from keras_mixers.layers import LayerNormalization, PatchEmbedding, PatchMerging, PointwiseDense
from keras_mixers.models import assembly
from keras_mixers.models.family import Family
from keras_mixers.models.mixer_model import MixerModel
from keras_mixers.preprocessing import TO_MINUS_ONE_ONE, TO_ZERO_ONE, Preprocessing
from keras_mixers.training import model as training_model
from keras_mixers.training import optimizers, remat
from keras_mixers.training.config import TrainingConfig
from keras_mixers.weights import names
from tests import reference

_OTHERS = names.Naming(
    title="a paper's code",
    mark="trunk.0.linear.weight",
    activation="gelu",
    table=names.layer("patches/projection", "embed.", kernel=names.CONV)
    | names.norm("patch_norm", "embed_norm.")
    | names.layer("halve/projection", "halve.")
    | names.norm("unit{i}_norm", "trunk.{i}.norm.")
    | names.layer("unit{i}_dense", "trunk.{i}.linear.")
    | names.norm("last_norm", "norm.")
    | names.layer("head", "classifier."),
    preprocessing=TO_MINUS_ONE_ONE,
)
FAMILY = Family("toy", TO_ZERO_ONE, (_OTHERS,))


def Toy(
    include_top=True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    include_preprocessing=True,
    name="toy",
    *,
    dim,
    depths=(1, 2),
    preprocessing=None,
):
    """Blocks of a norm and a dense layer, whose names are unlike those of the other families."""
    source = weight_files.describe(weights, namings=FAMILY.namings)
    model = assembly.Assembly(
        FAMILY, input_tensor, input_shape, include_preprocessing, preprocessing, source
    )
    x = PatchEmbedding(dim, 2, name="patches")(model.images)
    x = model.stem(LayerNormalization(name="patch_norm")(x), 2)
    unit = 0
    for stage, depth in enumerate(depths):
        if stage:
            model.stage(2 * 2**stage)
            x = PatchMerging(name="halve", use_bias=True)(x)
        for _ in range(depth):
            y = LayerNormalization(name=f"unit{unit}_norm")(x)
            y = PointwiseDense(x.shape[-1], name=f"unit{unit}_dense")(y)
            x = model.block(assembly.residual_sum(x, y, 0.0, f"unit{unit}"), f"unit{unit}")
            unit += 1
    x = model.final_norm(LayerNormalization(name="last_norm")(x))
    outputs = assembly.top(
        x, include_top, pooling, classes, classifier_activation, "zeros", "zeros"
    )
    return model.finish(outputs, include_top, name, weights)


@FAMILY.variant(Toy, name="toy_small", dim=4)
def ToySmall():
    """A small one."""


def build(**changes):
    return Toy(**dict(dim=4, input_shape=(8, 12, 3), classes=5) | changes)


BLOCKS = [
    ("unit0_norm", "unit0_dense", "unit0_add"),
    ("halve", "unit1_norm", "unit1_dense", "unit1_add"),
    ("unit2_norm", "unit2_dense", "unit2_add"),
]


def layer_names(layers):
    return tuple(layer.name for layer in layers)


def test_its_parts(tmp_path):
    model = build()
    model.save(tmp_path / "model.keras")
    for each in (model, keras.models.load_model(tmp_path / "model.keras")):
        assert type(each) is MixerModel
        assert each.family == "toy"
        assert layer_names(each.stem) == ("patches", "patch_norm")
        assert [layer_names(block.layers) for block in each.blocks] == BLOCKS
        assert each.blocks[1].roles == ("halve", "norm", "dense", "add")
        assert [(len(stage.blocks), stage.reduction) for stage in each.stages] == [(1, 2), (2, 4)]
        assert layer_names(each.final_norm) == ("last_norm",)
        assert each.head.name == "head"
        assert each.pyramid_level_inputs == {"P1": "unit0_add", "P2": "unit2_add"}
        assert each.namings == (_OTHERS,)
        assert each.preprocessing == Preprocessing((8, 12), mean=0, std=1)


def test_its_features(rng):
    model = build()
    x = rng.integers(0, 256, (2, 8, 12, 3)).astype("float32")
    taps = [model.get_layer(name).output for name in ("unit0_add", "unit1_add")]
    stage, block = keras.Model(model.input, taps)(x)
    found = model.features(stages=[0], blocks=[1])(x)
    np.testing.assert_allclose(found["stage_0"], stage, atol=1e-6)
    np.testing.assert_allclose(found["block_1"], block, atol=1e-6)


def trainable(model):
    return [layer.name for layer in model.layers if layer.trainable and layer.weights]


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        (0, ["head"]),
        (1, ["unit2_norm", "unit2_dense", "last_norm", "head"]),
        (2, ["halve", "unit1_norm", "unit1_dense"]),
        (3, ["unit0_norm", "unit0_dense", "halve"]),
    ],
)
def test_fine_tuning_of_the_last_blocks(blocks, expected):
    model = build()
    training_model._freeze(model, TrainingConfig(trained_blocks=blocks))
    assert trainable(model)[: len(expected)] == expected
    assert trainable(model)[-1] == "head"


def test_fine_tuning_of_more_blocks_than_there_are_is_refused():
    with pytest.raises(keras_mixers.errors.UsageError, match="--trained-blocks must be at most 3"):
        training_model._freeze(build(), TrainingConfig(trained_blocks=4))


def test_layer_decay():
    model = build()
    rates = optimizers.layer_rates(model, TrainingConfig(layer_decay=0.5))
    found = {
        variable.path.split("/")[0]: rate
        for variable, rate in zip(model.trainable_variables, rates, strict=True)
    }
    assert found == {
        "patches": 0.0625,
        "patch_norm": 0.0625,
        "unit0_norm": 0.125,
        "unit0_dense": 0.125,
        "halve": 0.25,
        "unit1_norm": 0.25,
        "unit1_dense": 0.25,
        "unit2_norm": 0.5,
        "unit2_dense": 0.5,
        "last_norm": 1.0,
        "head": 1.0,
    }


def test_recomputed_residuals_give_the_same(rng):
    model = build()
    reference.randomize(model, rng)
    x = keras.ops.convert_to_tensor(rng.integers(0, 256, (2, 8, 12, 3)).astype("float32"))
    recomputed = remat.forward(model, True)
    assert isinstance(recomputed, remat.Recomputed)
    assert sum(unit.has_branches for unit in recomputed._units) == 3
    expected = keras.ops.convert_to_numpy(model(x, training=True))
    np.testing.assert_allclose(recomputed(x), expected, atol=1e-6)
    assert np.ptp(expected, axis=0).max() > 0.01


def test_what_a_tpu_plan_calls_its_layers():
    from keras_mixers.tpu import compiled_step

    assert compiled_step._names(build()) == {
        "images": "images",
        "preprocessing": "preprocessing",
        "patches": "patches",
        "patch_norm": "patch_norm",
        **{f"unit{i}_{role}": f"block_*_{role}" for i in range(3) for role in ROLES},
        "halve": "block_*_halve",
        "last_norm": "last_norm",
        "avg_pool": "avg_pool",
        "head": "head",
    }


ROLES = ("norm", "dense", "add")


def theirs(rng):
    """A file of the paper's code, by hand: PyTorch's layouts."""
    shapes = {"embed.weight": (4, 3, 2, 2), "embed.bias": (4,)}
    shapes |= {"halve.weight": (8, 16), "halve.bias": (8,)}
    shapes |= {"classifier.weight": (5, 8), "classifier.bias": (5,)}
    shapes |= {f"{norm}.{part}": (4,) for norm in ("embed_norm",) for part in ("weight", "bias")}
    shapes |= {f"norm.{part}": (8,) for part in ("weight", "bias")}
    for i, dim in enumerate((4, 8, 8)):
        shapes |= {f"trunk.{i}.linear.weight": (dim, dim), f"trunk.{i}.linear.bias": (dim,)}
        shapes |= {f"trunk.{i}.norm.{part}": (dim,) for part in ("weight", "bias")}
    return {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def test_weights_in_foreign_names(rng, tmp_path, caplog):
    arrays = theirs(rng)
    np.savez(tmp_path / "theirs.npz", **arrays)
    built = build(weights=tmp_path / "theirs.npz")
    later = build()
    weight_files.load(later, tmp_path / "theirs.npz")
    # Any other model, with the names handed over.
    plain = keras.Model(later.input, later.output)
    for weight in plain.weights:
        weight.assign(np.zeros(weight.shape))
    weight_files.load(plain, tmp_path / "theirs.npz", namings=FAMILY.namings)
    for model in (built, plain):
        dense = model.get_layer("unit2_dense")
        np.testing.assert_array_equal(dense.kernel, arrays["trunk.2.linear.weight"].T)
        np.testing.assert_array_equal(dense.bias, arrays["trunk.2.linear.bias"])
        stem = model.get_layer("patches").projection.kernel
        np.testing.assert_array_equal(stem, arrays["embed.weight"].transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(
            model.get_layer("halve").projection.bias, arrays["halve.bias"]
        )
        np.testing.assert_array_equal(model.get_layer("head").bias, arrays["classifier.bias"])
    # The codebase's preprocessing, in place of the family's.
    assert built.preprocessing == Preprocessing((8, 12), mean=0.5, std=0.5)
    assert later.preprocessing == Preprocessing((8, 12), mean=0, std=1)
    # Only the model that was there before the weights has another one.
    (line,) = caplog.messages
    assert line.startswith("weights: they expect images prepared by 224 x 224, ")


def test_weights_in_names_of_nobody_are_refused(tmp_path):
    np.savez(tmp_path / "file.npz", a=np.ones(2))
    message = "the names in it, such as a, are neither Keras' nor those of a paper's code"
    with pytest.raises(ValueError, match=message):
        build(weights=tmp_path / "file.npz")


def test_its_variant():
    model = ToySmall(input_shape=(8, 8, 3), depths=(1,))
    assert (model.name, model.output_shape) == ("toy_small", (None, 1000))
    assert FAMILY.variants == [ToySmall]
    with pytest.raises(ValueError, match="`weights` of ToySmall must be None, the path of"):
        ToySmall(weights="imagenet1k")
