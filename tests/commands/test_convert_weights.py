"""keras-mixers convert-weights: from one codebase's file to another's, bit by bit."""

import itertools
import pathlib

import keras
import numpy as np
import pytest

import keras_mixers
from keras_mixers.commands import convert_weights
from keras_mixers.preprocessing import TO_ZERO_ONE
from tests import reference
from tests.helpers.commands import refuse
from tests.models.small import build, outputs
from tests.weights import foreign
from tests.weights.test_foreign_files import MIXER, SMLPNET, write

pytestmark = pytest.mark.tensorflow
FORMATS = {
    "google": (foreign.google_shapes, MIXER, ".npz"),
    "timm": (foreign.timm_shapes, MIXER, ".safetensors"),
    "spach": (foreign.spach_shapes, SMLPNET, ".safetensors"),
}
# By which their authors prepared the images; timm's file says nothing, and its family's is taken.
MEAN_AND_STD = {
    "google": (0.5, 0.5),
    "timm": (0.5, 0.5),
    "spach": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def made(kind, rng, folder, **changed):
    shapes, sizes, suffix = FORMATS[kind]
    arrays = foreign.random_arrays(shapes(**sizes | changed), rng)
    return write(folder / f"{kind}{suffix}", arrays), arrays


def convert(*arguments):
    return convert_weights.main([str(argument) for argument in arguments])


def arrays_of(path):
    if path.suffix == ".npz":
        return dict(np.load(path))
    from safetensors.numpy import load_file

    return load_file(path)


@pytest.mark.parametrize(("kind", "other"), [("google", ".safetensors"), ("timm", ".npz")])
def test_there_and_back_is_bit_equal(kind, other, rng, tmp_path, capsys):
    path, arrays = made(kind, rng, tmp_path)
    steps = [path, tmp_path / "a.keras", tmp_path / f"b{other}", tmp_path / f"c{path.suffix}"]
    for source, out in itertools.pairwise(steps):
        assert convert(source, out) == 0
        assert f"written     {out}" in capsys.readouterr().out
    back = arrays_of(steps[-1])
    assert back.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_model_is_found_from_the_shapes(kind, rng, tmp_path):
    path, arrays = made(kind, rng, tmp_path)
    assert convert(path, tmp_path / "out.keras") == 0
    model = keras.models.load_model(tmp_path / "out.keras")
    side = 16 if kind == "spach" else 12
    images = rng.uniform(0, 255, (2, side, side, 3)).astype("float32")
    forward = getattr(foreign, f"{kind}_forward")
    scaled = (images / 255 - MEAN_AND_STD[kind][0]) / MEAN_AND_STD[kind][1]
    _, logits = forward(arrays, scaled, *((SMLPNET["depths"],) if kind == "spach" else ()))
    np.testing.assert_allclose(outputs(model, images), logits, atol=2e-4, rtol=2e-4)


def test_how_images_are_prepared_is_said_or_asked_for(rng, tmp_path, capsys):
    """Google's names say it; timm's do not, but the folder's name may, and --mean and --std."""
    asked = "IN does not say how its images are prepared"

    def prepared(path, *options):
        assert convert(path, tmp_path / "out.keras", "--overwrite", *options) == 0
        says = keras.models.load_model(tmp_path / "out.keras").preprocessing
        return says.mean, says.std, capsys.readouterr().err.count(asked)

    assert prepared(made("google", rng, tmp_path)[0]) == ((0.5,), (0.5,), 0)
    path, _ = made("timm", rng, tmp_path)
    assert prepared(path) == ((0.5,), (0.5,), 1)
    assert prepared(path, "--mean", 0.25) == ((0.25,), (0.5,), 1)
    numbers = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert prepared(path, "--mean", *numbers[0], "--std", *numbers[1]) == (*numbers, 0)
    known = tmp_path / "mixer_b16_224.miil_in21k_ft_in1k"
    known.mkdir()
    path = path.rename(known / "model.safetensors")
    assert prepared(path) == ((0.0,), (1.0,), 0)


def test_mean_and_std_are_for_a_model_that_does_not_say_it(rng, tmp_path, capsys):
    numbers = ("--mean", 0.2, "--std", 0.4)
    model = build("mlp_mixer")
    model.save(tmp_path / "own.keras")
    assert convert(tmp_path / "own.keras", tmp_path / "out.keras", *numbers) == 2
    assert "--mean and --std are for an IN that does not say it" in capsys.readouterr().err
    old = pathlib.Path(__file__).parents[1] / "regression" / "mlp_mixer.keras"
    assert convert(old, tmp_path / "out.keras", *numbers) == 0
    loaded, old = (keras.models.load_model(p) for p in (tmp_path / "out.keras", old))
    images = rng.integers(0, 256, (1, *old.input_shape[1:])).astype("float32")
    np.testing.assert_allclose(loaded(images), old((images / 255 - 0.2) / 0.4), atol=1e-5)


def test_another_scaling_than_google_s_is_kept_and_gets_a_line(tmp_path, capsys, caplog):
    build("mlp_mixer", input_shape=(8, 8, 3), preprocessing=TO_ZERO_ONE).save(
        tmp_path / "own.keras"
    )
    assert convert(tmp_path / "own.keras", tmp_path / "out.npz") == 0
    (line,) = caplog.messages
    assert "for other code than keras_mixers, images must be prepared by 8 x 8, " in line
    assert convert(tmp_path / "out.npz", tmp_path / "back.keras") == 0
    back = keras.models.load_model(tmp_path / "back.keras").preprocessing
    assert (back.mean, back.std) == (TO_ZERO_ONE.mean, TO_ZERO_ONE.std)


def test_numbers_that_are_none_are_kept(rng, tmp_path):
    path, arrays = made("google", rng, tmp_path)
    arrays["head/bias"][:2] = np.nan, -0.0
    np.savez(path, **arrays)
    assert convert(path, tmp_path / "a.keras") == 0
    assert convert(tmp_path / "a.keras", tmp_path / "b.npz") == 0
    assert np.load(tmp_path / "b.npz")["head/bias"].tobytes() == arrays["head/bias"].tobytes()


def test_a_file_without_head(rng, tmp_path):
    path, arrays = made("google", rng, tmp_path)
    arrays = {k: v for k, v in arrays.items() if not k.startswith("head/")}
    np.savez(path, **arrays)
    assert convert(path, tmp_path / "out.keras") == 0
    model = keras.models.load_model(tmp_path / "out.keras")
    assert model.output_shape == (None, 3, 3, 8)
    assert convert(tmp_path / "out.keras", tmp_path / "back.npz") == 0
    assert dict(np.load(tmp_path / "back.npz")).keys() == arrays.keys()


def test_a_model_of_ours_for_others(rng, tmp_path):
    """Also of a grid that is no square, and with its layers for training."""
    model = build("mlp_mixer", drop_path_rate=0.1)
    reference.randomize(model, rng)
    model.save(tmp_path / "own.keras")
    for suffix in (".npz", ".safetensors", ".weights.h5"):
        out = tmp_path / f"out{suffix}"
        assert convert(tmp_path / "own.keras", out) == 0
        again = build("mlp_mixer", weights=out)
        for weight, same in zip(again.weights, model.weights, strict=False):
            np.testing.assert_array_equal(weight, same)


def test_what_cannot_be_used_is_refused_in_a_sentence(rng, tmp_path, capsys):
    path, _ = made("google", rng, tmp_path)
    out = tmp_path / "out.keras"

    def refused(*arguments):
        return refuse(convert_weights.main, arguments, capsys)

    assert "OUT: must end in .keras, .weights.h5, .npz" in refused(path, tmp_path / "out.pth")
    assert "OUT: must be in a folder that exists" in refused(path, tmp_path / "no" / "out.keras")
    assert "nowhere.npz" in refused(tmp_path / "nowhere.npz", out)
    (tmp_path / "text.npz").write_text("not what it says")
    assert "`weights` must be a file of weights" in refused(tmp_path / "text.npz", out)
    (tmp_path / "text.keras").write_text("not what it says")
    assert "text.keras" in refused(tmp_path / "text.keras", out)
    build("mlp_mixer").save_weights(tmp_path / "own.weights.h5")
    assert "give its .keras file" in refused(tmp_path / "own.weights.h5", out)
    build("smlpnet").save(tmp_path / "smlpnet.keras")
    sentence = refused(tmp_path / "smlpnet.keras", tmp_path / "out.npz")
    assert "must be of a family whose names are written as .npz, such as MLP-Mixer" in sentence
    arrays = dict(np.load(path))
    del arrays["MixerBlock_1/LayerNorm_0/scale"]
    np.savez(tmp_path / "less.npz", **arrays)
    assert "it lacks MixerBlock_1/LayerNorm_0/scale" in refused(tmp_path / "less.npz", out)
    oblong, _ = made("timm", rng, tmp_path, grid=(2, 3))
    assert "6 positions" in refused(oblong, out)
    assert "OUT: must end in" in refused(path, tmp_path / ".keras")
    (tmp_path / "text.keras").write_text("not what it says")
    sentence = refused(tmp_path / "text.keras", out)
    assert "IN must be a weight file, or a model in a run folder or a .keras file." in sentence
    build("mlp_mixer").export(tmp_path / "saved", verbose=False)
    assert "not an exported one" in refused(tmp_path / "saved", out)
    (tmp_path / "empty").mkdir()
    assert "IN must be" in refused(tmp_path / "empty", out)
    inner = build("mlp_mixer")
    inputs = keras.Input(inner.input_shape[1:])
    keras.Model(inputs, inner(inputs)).save(tmp_path / "around.keras")
    sentence = refused(tmp_path / "around.keras", tmp_path / "around.weights.h5")
    assert "IN must be one of this package's models by itself" in sentence
    assert ".convert-" not in sentence
    out.write_text("precious")
    assert "exists: choose another name or pass --overwrite" in refused(path, out)
    assert out.read_text() == "precious"
    left = {p.name for p in tmp_path.iterdir()}
    assert not any(name.startswith(".") or name.endswith(".part") for name in left)
    assert convert(path, out, "--overwrite") == 0
    assert isinstance(keras.models.load_model(out), keras.Model)


@pytest.mark.parametrize(
    ("kind", "name", "shape", "wanted"),
    [
        ("google", "stem/kernel", (4, 2, 3, 8), "stem/projection/kernel of 4 x 4 x any x any"),
        ("google", "stem/kernel", (1, 1, 3, 10**6), "fc1/kernel of 1000000 x any. Received: 8 x"),
        ("google", "MixerBlock_0/token_mixing/Dense_0/kernel", (9,), "with a block_0_"),
        ("google", "MixerBlock_1/token_mixing/Dense_0/kernel", (9, 7), "9 x 10. Received: 9 x 7"),
        ("google", "MixerBlock_1/channel_mixing/Dense_0/kernel", (8, 9), "8 x 12. Received: 8 x 9"),
        ("google", "head/kernel", (7, 7), "head/kernel of 8 x any. Received: 7 x 7"),
        ("google", "head/kernel", (8, 0), "head/kernel of 8 x any. Received: 8 x 0"),
        ("timm", "stem.proj.weight", (8, 3), "kernel of any x any x any x any. Received: none"),
        ("spach", "channel_mix.0.1.weight", (9,), "block_0_channel_norm/gamma of 6. Received: 9"),
        ("spach", "channel_mix.0.1.weight", (), "block_0_channel_norm/gamma of 6. Received: none"),
        ("spach", "channel_mix.2.1.weight", (64,), "gamma of 24. Received: 64"),
        ("spach", "channel_mix.0.2.net.0.weight", (20, 6), "of 6 x 18. Received: 6 x 20"),
        ("spach", "token_mix.0.1.proj_h.bias", (10**6,), "_projection/kernel of 1000000 x 1000000"),
        ("spach", "token_mix.0.1.proh_w.bias", (10**6,), "_projection/kernel of 1000000 x 1000000"),
        ("spach", "token_mix.0.1.proj_h.weight", (4,), "_projection/kernel of 8 x 8. Received: no"),
    ],
)
def test_no_model_larger_than_the_file_is_built(
    kind, name, shape, wanted, rng, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(keras_mixers.mlp_mixer.FAMILY, "build", None)
    monkeypatch.setattr(keras_mixers.smlpnet.FAMILY, "build", None)
    _, arrays = made(kind, rng, tmp_path)
    arrays[name] = np.zeros(shape, "float16")
    np.savez_compressed(tmp_path / "file.npz", **arrays)
    sentence = refuse(convert_weights.main, (tmp_path / "file.npz", tmp_path / "out.keras"), capsys)
    assert wanted in sentence


def test_an_entry_of_a_pytorch_file(rng, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    _, arrays = made("spach", rng, tmp_path)
    tensors = {k: torch.from_numpy(v) for k, v in arrays.items()}
    averages = {k: v + 0.25 for k, v in tensors.items()}
    torch.save({"model": tensors, "model_ema": averages}, tmp_path / "smlp.pth")
    assert convert(tmp_path / "smlp.pth", tmp_path / "a.keras", "--entry", "model_ema") == 0
    model = keras.models.load_model(tmp_path / "a.keras")
    np.testing.assert_array_equal(model.get_layer("head").bias, averages["mlp_head.0.bias"])
    sentence = refuse(
        convert_weights.main,
        (tmp_path / "smlp.pth", tmp_path / "b.keras", "--entry", "ema"),
        capsys,
    )
    assert "it has no entry 'ema', but model, model_ema" in sentence


@pytest.mark.extended
def test_published_sizes_are_found(rng, tmp_path):
    """What the arrays of S/32 say is S/32."""
    source = keras_mixers.MLPMixerS32(classes=3, classifier_activation=None)
    reference.randomize(source, rng)
    keras_mixers.weights.save(source, tmp_path / "s32.npz")
    assert convert(tmp_path / "s32.npz", tmp_path / "s32.keras") == 0
    model = keras.models.load_model(tmp_path / "s32.keras")
    assert model.input_shape == (None, 224, 224, 3)
    assert model.count_params() == source.count_params()
