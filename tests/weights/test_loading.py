"""Every array of a file is used once and every weight set once, or the model stays as it was."""

import io
import pickle
import sys
import types
import zipfile

import keras
import numpy as np
import pytest

from keras_mixers import weights as weight_files
from keras_mixers.models.mixer_model import MixerModel
from keras_mixers.preprocessing import Preprocessing
from keras_mixers.weights import formats
from tests import reference
from tests.models.small import FAMILIES, build
from tests.weights import foreign
from tests.weights.test_foreign_files import MIXER, SMLPNET, build_mixer, build_smlpnet, write

FORMATS = {
    "google": (foreign.google_shapes, MIXER, ".npz", build_mixer),
    "timm": (foreign.timm_shapes, MIXER, ".safetensors", build_mixer),
    "spach": (foreign.spach_shapes, SMLPNET, ".safetensors", build_smlpnet),
}
every_format = pytest.mark.parametrize("kind", FORMATS)


def made(kind, rng, **changed):
    """Returns arrays of a format, the way to write them, and the way to build their model."""
    shapes, sizes, suffix, build = FORMATS[kind]
    return foreign.random_arrays(shapes(**(sizes | changed)), rng), suffix, build


def values_of(model):
    return [np.asarray(weight) for weight in model.weights]


def assert_refused(model, path, match, **options):
    """The file is refused, and the model left as it was."""
    before = values_of(model)
    with pytest.raises(ValueError, match=match) as raised:
        weight_files.load(model, path, **options)
    assert "\n" not in str(raised.value)
    for now, then in zip(values_of(model), before, strict=True):
        np.testing.assert_array_equal(now, then)


@every_format
def test_a_missing_array_is_named(kind, rng, tmp_path):
    arrays, suffix, build = made(kind, rng)
    names = list(arrays)
    gone = names[len(names) // 2]
    path = write(tmp_path / f"file{suffix}", {k: v for k, v in arrays.items() if k != gone})
    assert_refused(build(), path, f"it lacks {gone}$")


@every_format
def test_an_array_too_many_is_named(kind, rng, tmp_path):
    arrays, suffix, build = made(kind, rng)
    path = write(tmp_path / f"file{suffix}", arrays | {"block.surplus": np.ones(3, "float32")})
    assert_refused(build(), path, r"it holds besides block\.surplus$")


@every_format
def test_an_array_of_another_shape_is_named(kind, rng, tmp_path):
    arrays, suffix, build = made(kind, rng)
    name = [n for n in arrays if n.endswith(("channel_mixing/Dense_0/kernel", "net.0.weight"))]
    name = (name or [n for n in arrays if n.endswith("mlp_channels.fc1.weight")])[0]
    rows, columns = arrays[name].shape
    path = write(tmp_path / f"file{suffix}", arrays | {name: arrays[name].T.copy()})
    match = rf"has of another shape {name} \({columns}, {rows}\) instead of \({rows}, {columns}\)$"
    assert_refused(build(), path, match)


def test_all_that_is_wrong_is_listed(rng, tmp_path):
    arrays, _, build = made("google", rng)
    del arrays["stem/bias"]
    arrays["MixerBlock_0/LayerNorm_0/scale"] = np.ones(9, "float32")
    arrays |= {f"surplus_{i}": np.ones(1, "float32") for i in range(7)}
    match = (
        r"it lacks stem/bias; it holds besides surplus_0, .*surplus_4 and 2 more; it has of "
        r"another shape MixerBlock_0/LayerNorm_0/scale \(9,\) instead of \(8,\)$"
    )
    assert_refused(build(), write(tmp_path / "file.npz", arrays), match)


@every_format
def test_a_deeper_or_a_shallower_model_is_refused(kind, rng, tmp_path):
    changed = {"depths": (1, 3)} if kind == "spach" else {"blocks": 4}
    arrays, suffix, build = made(kind, rng, **changed)
    assert_refused(build(), write(tmp_path / f"deep{suffix}", arrays), "it holds besides")
    changed = {"depths": (1, 1)} if kind == "spach" else {"blocks": 2}
    arrays, suffix, build = made(kind, rng, **changed)
    assert_refused(build(), write(tmp_path / f"shallow{suffix}", arrays), "it lacks")


@every_format
def test_a_file_of_another_family_is_refused(kind, rng, tmp_path):
    arrays, suffix, _ = made(kind, rng)
    path = write(tmp_path / f"file{suffix}", arrays)
    assert_refused(
        build("s2_mlp"), path, "the names in it, such as .*, are not Keras', and no names of"
    )
    other = build_mixer() if kind == "spach" else build_smlpnet()
    title = "Google's MLP-Mixer, timm's MLP-Mixer" if kind == "spach" else "SPACH's sMLPNet"
    assert_refused(other, path, f"are neither Keras' nor those of {title}$")


def test_weights_that_the_names_do_not_have_are_refused(rng, tmp_path):
    """A mixer's model, and the names of another family handed over."""
    arrays, suffix, build = made("spach", rng)
    path = write(tmp_path / f"file{suffix}", arrays)
    match = "it holds the weights of SPACH's sMLPNet, which has nothing like stem/projection/bias$"
    assert_refused(build_mixer(), path, match, namings=build().namings)


def test_names_of_nobody_are_refused(tmp_path):
    path = write(tmp_path / "file.npz", {"a": np.ones(2), "b": np.ones(3)})
    match = "the names in it, such as a, b, are neither Keras' nor those of Google's MLP-Mixer"
    assert_refused(build_mixer(), path, match)
    with pytest.raises(ValueError, match=match):
        weight_files.describe(path, namings=build_mixer().namings)
    with pytest.raises(ValueError, match="names in it, such as a, b, are not Keras', and"):
        weight_files.describe(path)


def test_a_weight_under_both_of_its_names_is_refused(rng, tmp_path):
    arrays, _, build = made("google", rng)
    arrays["embedding/bias"] = arrays["stem/bias"]
    path = write(tmp_path / "file.npz", arrays)
    assert_refused(build(), path, "it holds stem/bias twice, once as")


def test_two_arrays_of_one_name_are_refused(rng, tmp_path):
    arrays, _, build = made("google", rng)
    path = write(tmp_path / "file.npz", arrays)
    memory = io.BytesIO()
    np.save(memory, arrays["stem/bias"])
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("stem/bias.npy", memory.getvalue())
    assert_refused(build(), path, "two of its arrays have the same name")


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_pickles_are_not_opened(rng, tmp_path):
    arrays, _, build = made("google", rng)
    objects = arrays | {"stem/bias": np.array([_Bomb()], object)}
    path = write(tmp_path / "objects.npz", objects)
    assert_refused(
        build(), path, "its array 'stem/bias.npy' is pickled, and pickles are not opened"
    )
    bare = tmp_path / "bare.npz"
    bare.write_bytes(pickle.dumps(_Bomb(), protocol=4))
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        assert_refused(build(), bare, "it is a PyTorch file, a pickle, .*: install torch")
    else:
        assert_refused(build(), bare, "it cannot be read")


@pytest.mark.parametrize("what", [np.int32, np.complex64, "S4", bool])
def test_arrays_of_anything_but_real_numbers_are_refused(what, rng, tmp_path):
    arrays, _, build = made("google", rng)
    arrays["stem/bias"] = np.ones(8).astype(what)
    path = write(tmp_path / "file.npz", arrays)
    assert_refused(build(), path, "its array 'stem/bias' .*not floating-point numbers")


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_other_precisions_are_read(kind, rng, tmp_path):
    import ml_dtypes

    arrays, _, build = made("google", rng)
    dtype = ml_dtypes.bfloat16 if kind == "bfloat16" else kind
    path = write(tmp_path / "file.npz", {k: v.astype(dtype) for k, v in arrays.items()})
    model = build(weights=path)
    expected = arrays["head/bias"].astype(dtype).astype("float32")
    np.testing.assert_array_equal(model.get_layer("head").bias, expected)


def test_half_precision_in_safetensors(rng, tmp_path):
    import ml_dtypes

    arrays, _, build = made("timm", rng)
    halves = {k: v.astype(ml_dtypes.bfloat16) for k, v in arrays.items()}
    model = build(weights=write(tmp_path / "file.safetensors", halves))
    np.testing.assert_array_equal(
        model.get_layer("head").bias, halves["head.bias"].astype("float32")
    )


@every_format
def test_the_head_of_other_classes_is_left_out(kind, rng, tmp_path, caplog):
    arrays, suffix, build = made(kind, rng)
    path = write(tmp_path / f"file{suffix}", arrays)
    model = build(weights=path, classes=7)
    assert "the head of 5 classes was left out; the model has a new head of 7" in caplog.text
    whole = build(weights=path)
    features = build(weights=path, include_top=False)
    assert "the head of 5 classes was left out; the model has no head" in caplog.text
    for layers in (model.layers[:-1], features.layers):
        for layer in layers:
            for weight, same in zip(
                layer.weights, whole.get_layer(layer.name).weights, strict=True
            ):
                np.testing.assert_array_equal(weight, same)


def test_half_a_head_is_refused(rng, tmp_path):
    arrays, _, build = made("google", rng)
    del arrays["head/bias"]
    path = write(tmp_path / "file.npz", arrays)
    assert_refused(build(), path, "it lacks head/bias$")
    assert_refused(build(classes=7), path, "it lacks head/bias;")


@pytest.mark.parametrize(("kind", "theirs"), [("google", "gelu_tanh"), ("timm", "gelu")])
def test_the_activation_is_the_one_of_the_source(kind, theirs, rng, tmp_path, caplog):
    arrays, suffix, build = made(kind, rng)
    path = write(tmp_path / f"file{suffix}", arrays)

    def activations(model):
        layers = [layer for layer in model.layers if layer.name.endswith("_mixing")]
        return {layer.get_config()["activation"] for layer in layers}

    assert activations(build(weights=path, preprocessing=Preprocessing())) == {theirs}
    assert caplog.text == ""
    other = {"gelu": "gelu_tanh", "gelu_tanh": "gelu"}[theirs]
    assert activations(build(weights=path, activation=other)) == {other}
    conflict = f"their source computes with activation='{theirs}', this model with '{other}'"
    assert conflict in caplog.text
    caplog.clear()
    weight_files.load(build(activation=other), path)
    assert conflict in caplog.text
    # A model's own file knows it, too.
    build(activation="gelu").save(tmp_path / "own.keras")
    assert activations(build(weights=tmp_path / "own.keras")) == {"gelu"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_files_of_keras_are_read_as_keras_reads_them(family, suffix, rng, tmp_path):
    model = build(family, drop_path_rate=0.1, dropout_rate=0.1)
    reference.randomize(model, rng)
    path = tmp_path / f"own{suffix}"
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    ours, theirs = build(family), build(family, drop_path_rate=0.1, dropout_rate=0.1)
    weight_files.load(ours, path)
    theirs.load_weights(path)
    for weight, same in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(weight, same)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_mixer_is_written_for_others_bit_by_bit(suffix, rng, tmp_path):
    model = build("mlp_mixer")
    reference.randomize(model, rng)
    weight_files.save(model, tmp_path / f"first{suffix}")
    again = build("mlp_mixer", weights=tmp_path / f"first{suffix}")
    for weight, same in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    weight_files.save(again, tmp_path / f"second{suffix}")
    shapes = foreign.google_shapes if suffix == ".npz" else foreign.timm_shapes
    arrays_in = formats.arrays_in
    with (
        arrays_in(tmp_path / f"first{suffix}") as first,
        arrays_in(tmp_path / f"second{suffix}") as second,
    ):
        assert {k: v.shape for k, v in first.items()} == shapes(**MIXER | dict(grid=(2, 3)))
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_array_equal(first[name].read(), second[name].read())


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in \.npz or \.safetensors\. Received"):
        weight_files.save(build("mlp_mixer"), tmp_path / "file.pth")
    message = r"`model` must be of a family whose names are written as \.npz, .* 'smlpnet'$"
    with pytest.raises(ValueError, match=message):
        weight_files.save(build("smlpnet"), tmp_path / "file.npz")
    plain = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()])
    with pytest.raises(ValueError, match="`model` must be of a family whose names are written as"):
        weight_files.save(plain, tmp_path / "file.npz")
    widened = build("mlp_mixer")
    more = keras.layers.Dense(2, name="more")(widened.output)
    more = MixerModel(widened.input, more, name="more")
    with pytest.raises(ValueError, match=r"`model` must have the weights of Google's .* more/ke"):
        weight_files.save(more, tmp_path / "file.npz")
    with pytest.raises(ValueError, match=r"`path` must end in .* Received: path=3"):
        weight_files.save(build("mlp_mixer"), 3)
    with pytest.raises(ValueError, match=r"`model` must be a keras\.Model"):
        weight_files.save("model.keras", tmp_path / "file.npz")
    assert list(tmp_path.iterdir()) == []


def test_half_precision_is_written_as_numpy_knows_it(rng, tmp_path):
    keras.config.set_dtype_policy("bfloat16")
    try:
        model = build("mlp_mixer")
    finally:
        keras.config.set_dtype_policy("float32")
    reference.randomize(model, rng)
    weight_files.save(model, tmp_path / "file.npz")
    kernel = np.load(tmp_path / "file.npz")["stem/kernel"]
    assert kernel.dtype == "float32"
    stem = keras.ops.convert_to_numpy(model.get_layer("stem").projection.kernel)
    np.testing.assert_array_equal(kernel, stem.astype("float32"))


def test_a_path_may_begin_at_home(rng, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    arrays, _, build = made("google", rng)
    np.savez(tmp_path / "file.npz", **arrays)
    kernel = build(weights="~/file.npz").get_layer("stem").projection.kernel
    np.testing.assert_array_equal(kernel, arrays["stem/kernel"])


def test_an_entry_is_one_of_pytorch_files(rng, tmp_path):
    for kind in ("google", "timm"):
        arrays, suffix, build = made(kind, rng)
        path = write(tmp_path / f"file{suffix}", arrays)
        assert_refused(build(), path, "and no entry 'model_ema'", entry="model_ema")
    path = tmp_path / "own.weights.h5"
    build_mixer().save_weights(path)
    assert_refused(build_mixer(), path, "and no entry 'model_ema'", entry="model_ema")


@pytest.mark.parametrize("weights", [3, ["a"], "nowhere.npz", keras])
def test_what_is_no_file_is_refused(weights):
    with pytest.raises(ValueError, match="`weights` must be None or the path of an existing"):
        build("mlp_mixer", weights=weights)


@pytest.mark.parametrize("legacy", [False, True])
def test_pytorch_is_asked_for_its_restricted_reader(legacy, tmp_path, monkeypatch):
    """With a stand-in for PyTorch, which is not installed everywhere."""
    asked = []

    def load(file, **options):
        asked.append(options)
        return {"model": {}}

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load, Tensor=int))
    path = tmp_path / "file.pth"
    if legacy:
        path.write_bytes(pickle.dumps({}))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("file/data.pkl", pickle.dumps({}))
    with formats.arrays_in(path) as arrays:
        assert arrays == {}
    (options,) = asked
    assert options["weights_only"] is True


def test_pytorch_files(rng, tmp_path):
    torch = pytest.importorskip("torch")
    arrays, _, build = made("spach", rng)
    averaged = {k: v + np.float32(0.25) for k, v in arrays.items()}
    tensors, averages = (
        {k: torch.from_numpy(v) for k, v in values.items()} for values in (arrays, averaged)
    )
    both = {"model": tensors, "model_ema": averages, "epoch": 3}
    for contents, legacy in ((both, False), (both, True), (tensors, False)):
        path = tmp_path / "file.pth"
        torch.save(contents, path, _use_new_zipfile_serialization=not legacy)
        model = build(weights=path)
        np.testing.assert_array_equal(model.get_layer("head").bias, arrays["mlp_head.0.bias"])
    torch.save(both, path)
    weight_files.load(model, path, entry="model_ema")
    np.testing.assert_array_equal(model.get_layer("head").bias, averaged["mlp_head.0.bias"])
    assert_refused(model, path, "it has no entry 'ema', but model, model_ema", entry="ema")
    torch.save({"model": _Bomb()}, path)
    assert_refused(model, path, "PyTorch does not open it")


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".weights.h5", ".keras"])
@pytest.mark.parametrize("build", [True, False])
def test_a_file_is_opened_once(ending, build, tmp_path, monkeypatch):
    """A PyTorch file is read as a whole when it is opened."""
    path, model = tmp_path / f"model{ending}", build_mixer()
    if ending == ".keras":
        model.save(path)
    elif ending == ".weights.h5":
        model.save_weights(path)
    else:
        weight_files.save(model, path)
    opened, arrays_in = [], formats.arrays_in

    def counted(*arguments):
        opened.append(arguments)
        return arrays_in(*arguments)

    monkeypatch.setattr(formats, "arrays_in", counted)
    build_mixer(weights=path) if build else weight_files.load(model, path)
    assert len(opened) == 1
