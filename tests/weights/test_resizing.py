"""Weights carried to another grid do there what they did on their own."""

import keras
import numpy as np
import pytest

import keras_mixers
from keras_mixers import weights as weight_files
from keras_mixers.layers import AxialProjection, TokenMixing
from tests import reference
from tests.helpers.sampling import extended
from tests.models.small import build, images, outputs
from tests.weights import foreign
from tests.weights.test_foreign_files import MIXER, build_mixer, write

GRIDS = [((4, 6), (8, 12)), ((4, 6), (6, 5)), ((5, 5), (3, 3)), ((3, 4), (3, 9)), ((6, 6), (1, 2))]
every_change = pytest.mark.parametrize(("old", "new"), GRIDS)


def model_of(layer, grid):
    inputs = keras.Input((*grid, 3), name="images")
    return keras.Model(inputs, layer(inputs))


def resampled(maps, size):
    """Keras' own resizing, which averages where it makes smaller."""
    return np.asarray(keras.ops.image.resize(maps, size, "bilinear", antialias=True))


@every_change
def test_token_mixing_is_what_it_was_of_the_resampled_map(old, new, rng):
    layer = TokenMixing(7, name="mixing")
    model = model_of(layer, old)
    reference.randomize(model, rng)
    maps = rng.normal(size=(2, *new, 3)).astype("float32")
    result = outputs(keras_mixers.resize(model, (*new, 3)), maps)
    expected = resampled(outputs(model, resampled(maps, old)), new)
    np.testing.assert_allclose(result, expected, atol=1e-5)


@every_change
def test_axial_projections_are_what_they_were_of_the_resampled_axis(old, new, rng):
    """Of the branches along the width and along the height, with the identity left out."""
    for branch, axis in enumerate(("width", "height")):
        layer = AxialProjection(include_identity=False, name="axial")
        model = model_of(layer, old)
        reference.randomize(model, rng)
        one = np.zeros((2, 3, 3), "float32")
        one[branch] = np.eye(3)
        layer.fuse.kernel.assign(one.reshape(6, 3))
        maps = rng.normal(size=(2, *new, 3)).astype("float32")
        result = outputs(keras_mixers.resize(model, (*new, 3)), maps)
        i = 1 if axis == "width" else 0
        size = (new[0], old[1]) if axis == "width" else (old[0], new[1])
        along = resampled(maps, size)
        dense = layer.width_projection if axis == "width" else layer.height_projection
        moved = np.moveaxis(along, i + 1, -1) @ np.asarray(dense.kernel) + np.asarray(dense.bias)
        expected = resampled(np.moveaxis(moved, -1, i + 1), new)
        np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("family", ["mlp_mixer", "smlpnet"])
@pytest.mark.parametrize("times", [2, 0.5])
def test_a_constant_map_gives_what_it_gave_where_the_layer_is_constant(family, times, rng):
    """With second biases that are constant, each token-mixing layer maps constants to constants."""
    model = build(family, input_shape=(32, 48, 3))
    for weight, value in reference.randomize(model, rng).items():
        if (
            weight.endswith(("token_mixing/fc2/kernel", "projection/kernel"))
            and "stem" not in weight
        ):
            kernel = value / value.sum(axis=0) if "axial" in weight else value[:, :1] + 0 * value
        elif weight.endswith(("token_mixing/fc2/bias", "projection/bias")) and "stem" not in weight:
            kernel = value[:1] + 0 * value
        else:
            continue
        next(w for w in model.weights if w.path == weight).assign(kernel)
    twin = keras_mixers.resize(model, (int(32 * times), int(48 * times), 3))
    names = [n.name for n in model.layers if isinstance(n, TokenMixing | AxialProjection)]
    assert names
    for name in names:
        layer, carried = model.get_layer(name), twin.get_layer(name)
        channels = layer.input.shape[-1]
        constant = rng.normal(size=channels).astype("float32")
        before = layer(np.zeros((1, *layer.grid, channels), "float32") + constant)
        after = carried(np.zeros((1, *carried.grid, channels), "float32") + constant)
        assert layer.grid != carried.grid
        one = np.asarray(before)[0, 0, 0]
        np.testing.assert_allclose(before, one + 0 * np.asarray(before), atol=1e-4)
        np.testing.assert_allclose(after, one + 0 * np.asarray(after), atol=1e-4)


@pytest.mark.parametrize("times", [(2, 2), (1, 3), (3, 2)])
def test_block_diagonal_gives_each_tile_what_the_whole_gave(times, rng):
    model = build("mlp_mixer", classifier_activation=None)
    reference.randomize(model, rng)
    height, width, _ = model.input_shape[1:]
    shape = (times[0] * height, times[1] * width, 3)
    twin = keras_mixers.resize(model, shape, "block_diagonal")
    wider = twin.get_layer("block_0_token_mixing").hidden_dim
    assert wider == times[0] * times[1] * model.get_layer("block_0_token_mixing").hidden_dim
    taps = [f"block_{i}_{part}_add" for i in range(3) for part in ("token", "channel")]

    def inner(of):
        outputs = [of.get_layer(name).output for name in taps]
        return keras.Model(of.input, [*outputs, of.output])

    x = images(model, rng)
    *maps, logits = outputs(inner(model), x)
    *tiled_maps, tiled_logits = outputs(inner(twin), np.tile(x, (1, *times, 1)))
    for one, tiled in zip(maps, tiled_maps, strict=True):
        np.testing.assert_allclose(tiled, np.tile(one, (1, *times, 1)), atol=2e-5)
    np.testing.assert_allclose(tiled_logits, logits, atol=2e-5)
    # An image that is no tiling: each tile has its own answer.
    parts = rng.normal(size=(1, *shape)).astype("float32")
    last = outputs(keras.Model(twin.input, twin.get_layer(taps[-1]).output), parts)
    corner = keras.Model(model.input, model.get_layer(taps[-1]).output).predict(
        parts[:, -height:, -width:], verbose=0
    )
    np.testing.assert_allclose(last[:, -2:, -3:], corner, atol=2e-5)


@pytest.mark.parametrize(
    ("family", "shape", "method"),
    [
        ("mlp_mixer", (16, 24, 3), "block_diagonal"),
        ("smlpnet", (32, 16, 3), "interpolate"),
        *extended(
            ("mlp_mixer", (16, 24, 3), "interpolate"),
            ("mlp_mixer", (4, 20, 3), "interpolate"),
            ("s2_mlp", (20, 24, 3), "interpolate"),
        ),
    ],
)
def test_at_construction_and_afterwards_it_is_the_same(family, shape, method, rng, tmp_path):
    model = build(family, drop_path_rate=0.1, dropout_rate=0.1)
    reference.randomize(model, rng)
    model.save(tmp_path / "own.keras")
    before = [np.asarray(weight) for weight in model.weights]
    twin = keras_mixers.resize(model, shape, method)
    options = {"resize": method} if family == "mlp_mixer" else {}
    built = build(family, input_shape=shape, weights=tmp_path / "own.keras", **options)
    x = rng.normal(size=(2, *shape)).astype("float32")
    np.testing.assert_allclose(outputs(twin, x), outputs(built, x), rtol=1e-5, atol=1e-6)
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert {type(layer) for layer in twin.layers} == {type(layer) for layer in model.layers}
    twin.save(tmp_path / "twin.keras")
    again = keras.models.load_model(tmp_path / "twin.keras")
    np.testing.assert_array_equal(outputs(again, x), outputs(twin, x))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_grid_that_could_be_another_is_known_from_the_model(suffix, rng, tmp_path):
    """2 x 8 positions are as many as 4 x 4."""
    model = build("mlp_mixer", input_shape=(8, 32, 3))
    reference.randomize(model, rng)
    path = tmp_path / f"own{suffix}"
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    same = build("mlp_mixer", input_shape=(8, 32, 3), weights=path)
    x = images(model, rng)
    np.testing.assert_array_equal(outputs(same, x), outputs(model, x))
    if suffix == ".keras":
        square = build("mlp_mixer", input_shape=(16, 16, 3), weights=path)
        expected = keras_mixers.resize(model, (16, 16, 3))
        x = images(square, rng)
        np.testing.assert_allclose(outputs(square, x), outputs(expected, x), rtol=1e-5)


@pytest.mark.parametrize("method", ["interpolate", "block_diagonal"])
def test_files_of_others_are_carried_and_it_is_said(method, rng, tmp_path, caplog):
    arrays = foreign.random_arrays(foreign.google_shapes(**MIXER), rng)
    path = write(tmp_path / "google.npz", arrays)
    model = build_mixer(input_shape=(24, 36, 3), weights=path, resize=method)
    assert f"carried to images of 24 x 36 by resize='{method}'" in caplog.text
    twin = keras_mixers.resize(build_mixer(weights=path), (24, 36, 3), method)
    x = images(model, rng)
    np.testing.assert_allclose(outputs(model, x), outputs(twin, x), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_carried_is_refused(rng, tmp_path):
    path = write(
        tmp_path / "google.npz", foreign.random_arrays(foreign.google_shapes(**MIXER), rng)
    )
    match = "`input_shape` must be whole multiples .* from 3 x 3 to 6 x 4$"
    with pytest.raises(ValueError, match=match):
        build_mixer(input_shape=(24, 16, 3), weights=path, resize="block_diagonal")
    with pytest.raises(ValueError, match=r"`resize` must be one of .*Received: resize='bicubic'"):
        build_mixer(weights=path, resize="bicubic")
    large = foreign.google_shapes(**MIXER | dict(grid=(1025, 1025), tokens_dim=1))
    large = {name: np.zeros(shape, "float16") for name, shape in large.items()}
    with pytest.raises(ValueError, match="1025 x 1025 positions; a side may have 1 to 1024"):
        build_mixer(weights=write(tmp_path / "large.npz", large))
    oblong = foreign.random_arrays(foreign.google_shapes(**MIXER | dict(grid=(2, 3))), rng)
    path = write(tmp_path / "oblong.npz", oblong)
    with pytest.raises(
        ValueError, match=r"6 positions, which are no square: .*keras_mixers\.resize"
    ):
        build_mixer(weights=path)
    with pytest.raises(ValueError, match="6 positions, which are no square"):
        build_mixer(weights=path, resize="block_diagonal")


def test_any_size_is_any_size(rng, tmp_path):
    arrays = foreign.random_arrays(foreign.google_shapes(**MIXER | dict(grid=(20, 20))), rng)
    path = write(tmp_path / "large.npz", arrays)
    model = build_mixer(input_shape=(4, 8, 3), weights=path)
    twin = keras_mixers.resize(build_mixer(input_shape=(80, 80, 3), weights=path), (4, 8, 3))
    for weight, same in zip(model.weights, twin.weights, strict=True):
        np.testing.assert_array_equal(weight, same)


@pytest.mark.parametrize("method", ["interpolate", "block_diagonal"])
def test_a_model_without_positions_goes_to_any_size(method, rng):
    model = build("s2_mlp")
    reference.randomize(model, rng)
    for shape in ((24, 56, 3), (None, None, 3), (np.int64(24), 24, 3)):
        twin = keras_mixers.resize(model, shape, method)
        assert twin.input_shape == (None, *shape)
        for weight, same in zip(twin.weights, model.weights, strict=True):
            np.testing.assert_array_equal(weight, same)


def test_what_stands_before_a_model_is_kept(rng):
    """Pixels as they are, scaled within the model."""
    pixels = keras.Input((16, 24, 3), dtype="uint8", name="pixels")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    model = build("mlp_mixer", input_tensor=scaled, input_shape=None)
    reference.randomize(model, rng)
    twin = keras_mixers.resize(model, (32, 48, 3), "block_diagonal")
    x = rng.integers(0, 256, size=(2, 16, 24, 3)).astype("uint8")
    assert twin.inputs[0].dtype == "uint8"
    np.testing.assert_allclose(
        outputs(twin, np.tile(x, (1, 2, 2, 1))), outputs(model, x), atol=1e-5
    )


def test_a_model_that_cannot_be_copied_is_refused():
    def twice(x):
        return 2 * x

    model = build("mlp_mixer", classifier_activation=twice)
    with pytest.raises(ValueError, match=r"other than 'head': mark its functions by keras\.saving"):
        keras_mixers.resize(model, (32, 48, 3))
    inner = build("mlp_mixer")
    inputs = keras.Input(inner.input_shape[1:])
    around = keras.Model(inputs, keras.layers.Dense(2)(inner(inputs)))
    with pytest.raises(ValueError, match=r"no other model within it.*mlp_mixer") as raised:
        keras_mixers.resize(around, (32, 48, 3))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("family", "shape", "method", "match"),
    [
        ("smlpnet", (32, 48, 3), "block_diagonal", "method must be 'interpolate'"),
        ("mlp_mixer", (12, 12, 3), "block_diagonal", "from 8 x 12 to 12 x 12"),
        ("mlp_mixer", (16, 24, 3), "bicubic", "`method` must be one of"),
        ("mlp_mixer", (16, 24), "interpolate", "`input_shape` must be"),
        ("mlp_mixer", (16, 24, 1), "interpolate", "`input_shape` must be"),
        ("mlp_mixer", (15, 24, 3), "interpolate", "patch"),
        ("mlp_mixer", (0, 24, 3), "interpolate", r"`input_shape` must be \(height, width, 3\)"),
        (
            "mlp_mixer",
            (True, True, 3),
            "interpolate",
            r"`input_shape` must be \(height, width, 3\)",
        ),
        (
            "mlp_mixer",
            (None, None, 3),
            "interpolate",
            r"`input_shape` must be \(height, width, 3\)",
        ),
        ("mlp_mixer", 448, "interpolate", "`input_shape` must be .* Received: input_shape=448"),
        ("mlp_mixer", None, "interpolate", "`input_shape` must be .* Received: input_shape=None"),
    ],
)
def test_resize_refuses(family, shape, method, match):
    with pytest.raises(ValueError, match=match):
        weight_files.resize(build(family), shape, method)


def test_resize_takes_functional_models_of_one_image_alone():
    with pytest.raises(ValueError, match="`model` must be a functional model of one image"):
        weight_files.resize(keras.Sequential([keras.layers.Dense(3)]), (8, 8, 3))
    with pytest.raises(ValueError, match="`model` must be a functional model of one image"):
        weight_files.resize("model.keras", (8, 8, 3))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("how", ["lora", "int8"])
def test_lora_and_quantized_layers_are_refused(how):
    """Their weights are not in the config that the new model is built from."""
    model = build("mlp_mixer", num_blocks=1)
    if how == "int8":
        model.quantize("int8")
    else:
        model.get_layer("block_0_token_mixing").fc1.enable_lora(2)
    with pytest.raises(ValueError, match="`model` must have no LoRA and no quantized layers"):
        keras_mixers.resize(model, (16, 24, 3))
