"""Published weights are fetched once, whole or not at all. The server is on loopback."""

import io
import logging
import socket
import sys

import numpy as np
import pytest

import keras_mixers
from keras_mixers import weights as weight_files
from keras_mixers.preprocessing import Preprocessing
from keras_mixers.weights import published
from tests.helpers import file_server
from tests.weights import foreign

SCALING = Preprocessing(mean=0.25, std=0.75)
S32 = dict(blocks=8, grid=(7, 7), patch=32, dim=512, tokens_dim=256, channels_dim=2048)


def written(save):
    memory = io.BytesIO()
    save(memory, array=np.ones(1000, "float32"))
    return memory.getvalue()


@pytest.fixture
def server():
    with file_server.serving(written(np.savez)) as server:
        yield server


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models" / "keras_mixers"


def publish(monkeypatch, variant, *names, url, classes=1000, top_1=None):
    about = published.Published(url, classes, "here", SCALING, top_1, "this test")
    monkeypatch.setitem(weight_files.PUBLISHED, variant, dict.fromkeys(names, about))


def test_a_name_is_fetched_once_and_loaded(server, cache, rng, tmp_path, monkeypatch, capfd):
    arrays = foreign.random_arrays(foreign.google_shapes(**S32, classes=1000), rng)
    np.savez(tmp_path / "file.npz", **arrays)
    server.content = (tmp_path / "file.npz").read_bytes()
    publish(monkeypatch, "MLPMixerS32", "imagenet1k", url=server.url)
    for _ in range(2):
        model = keras_mixers.MLPMixerS32(weights="imagenet1k")
    assert server.requests == 1
    assert [path.name for path in cache.iterdir()] == ["MLPMixerS32_imagenet1k.npz"]
    kernel = model.get_layer("block_7_token_mixing").fc2.kernel
    np.testing.assert_array_equal(kernel, arrays["MixerBlock_7/token_mixing/Dense_1/kernel"])
    # What is published of them comes first; then what their names tell.
    assert model.preprocessing == SCALING
    assert f"{len(server.content)}/{len(server.content)}" in capfd.readouterr().out  # The bar.


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_download_cut_short_is_not_taken_for_the_file(suffix, says_length, server, cache):
    if suffix == ".safetensors":
        tensors = pytest.importorskip("safetensors.numpy")
        server.content = tensors.save({"array": np.ones(1000, "float32")}, {"format": "pt"})
    server.says_length = says_length
    name = f"file{suffix}"
    for length in (0, 3, 50, 1000, len(server.content) - 1):
        server.cut = length
        with pytest.raises(
            ValueError, match=rf"could not be fetched from {server.url} \(.*by hand"
        ):
            published.fetch(server.url, name)
        assert list(cache.iterdir()) == []
    server.cut = None
    assert published.fetch(server.url, name) == str(cache / name)
    assert (cache / name).read_bytes() == server.content


def test_a_page_in_place_of_the_file_is_not_taken_for_it(server, cache):
    server.content = b"<html>Log in first</html>"
    with pytest.raises(ValueError, match="what came is no whole file: its content is none of"):
        published.fetch(server.url, "file.npz")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pytorch_file_cut_short_is_not_taken_for_it(legacy, server, cache):
    torch = pytest.importorskip("torch")
    memory = io.BytesIO()
    arrays = {"array": torch.ones(1000)}
    torch.save(arrays, memory, _use_new_zipfile_serialization=not legacy)
    server.content, server.says_length = memory.getvalue(), False
    for length in (1, 300, len(server.content) - 1):
        server.cut = length
        with pytest.raises(ValueError, match="what came is no whole file"):
            published.fetch(server.url, "file.pth")
        assert list(cache.iterdir()) == []
    server.cut = None
    assert published.fetch(server.url, "file.pth") == str(cache / "file.pth")


def test_what_cannot_be_read_is_not_fetched(server, cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    publish(monkeypatch, "SMLPNetS", "imagenet1k", url=f"{server.url}/smlp_s.pth")
    with pytest.raises(ValueError, match=r"cannot be read from .*smlp_s\.pth: .*install torch"):
        keras_mixers.SMLPNetS(weights="imagenet1k")
    assert server.requests == 0


def test_without_network_the_sentence_says_where_to_put_the_file(cache, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.npz"
    publish(monkeypatch, "MLPMixerS16", "gsam", url=url)
    with pytest.raises(ValueError, match="could not be fetched") as raised:
        keras_mixers.MLPMixerS16(weights="gsam")
    assert str(raised.value).count("\n") == 0
    assert f"could not be fetched from {url}" in str(raised.value)
    assert f"by hand at {cache / 'MLPMixerS16_gsam.npz'}" in str(raised.value)


def test_a_file_put_by_hand_is_taken(cache):
    cache.mkdir(parents=True)
    (cache / "file.npz").write_bytes(b"by hand")
    assert published.fetch("http://127.0.0.1:9/file.npz", "file.npz") == str(cache / "file.npz")


def test_a_name_that_is_not_published_lists_those_that_are():
    with pytest.raises(ValueError, match="one of the published: 'sam', 'gsam'") as raised:
        keras_mixers.MLPMixerB32(weights="imagenet21k")
    assert "which is published for MLPMixerB16, MLPMixerL16" in str(raised.value)
    with pytest.raises(ValueError, match=r"one of the published: none\. Received: weights='jft'$"):
        keras_mixers.S2MLPDeep(weights="jft")
    for weights in ("imagenet-1k", "ImageNet 21k", "", 3, ["sam"]):
        with pytest.raises(ValueError, match="a weight file, or one of the published: 'sam', 'gs"):
            keras_mixers.MLPMixerB32(weights=weights)
    with pytest.raises(ValueError, match="path of an existing"):
        keras_mixers.MLPMixerB32(weights="no/sam")


def test_a_folder_of_that_name_is_no_file(server, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sam").mkdir()
    publish(monkeypatch, "MLPMixerB32", "sam", url=f"{server.url}/file.npz")
    assert weight_files.path_of("MLPMixerB32", "sam") == str(cache / "MLPMixerB32_sam.npz")


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sam").write_text("no weights")
    with pytest.raises(ValueError, match="must be a file of weights"):
        keras_mixers.MLPMixerB32(weights="sam")


@pytest.mark.parametrize("variant", weight_files.PUBLISHED)
def test_the_table_is_complete(variant):
    assert hasattr(keras_mixers, variant)
    for about in weight_files.PUBLISHED[variant].values():
        assert about.url.startswith("https://")
        assert about.classes >= 1000
        assert about.trained
        assert isinstance(about.preprocessing, Preprocessing)
        assert about.source.startswith("https://")


@pytest.mark.parametrize(
    ("variant", "best"),
    [
        ("MLPMixerB16", "miil_imagenet1k"),
        ("MLPMixerB32", "sam"),
        ("MLPMixerL16", "imagenet1k"),
        ("MLPMixerS16", "gsam"),
        ("SMLPNetB", "imagenet1k"),
        ("S2MLPDeep", "imagenet"),
    ],
)
def test_imagenet_is_the_best_of_imagenet_1k(variant, best):
    assert weight_files.name_of(variant, "imagenet") == best
    for other in (None, "sam", "imagenet1k", 3, ["imagenet"]):
        assert weight_files.name_of(variant, other) is other


@pytest.mark.parametrize("figures", [(None, 71.0, 72.0), (72.0, None, 71.0), (None, None, None)])
def test_the_highest_figure_is_the_best(figures, monkeypatch):
    names = {
        f"{i}_{figure}": published.Published("", 1000, "here", SCALING, figure, "this test")
        for i, figure in enumerate(figures)
    }
    more = published.Published("", 21843, "here", SCALING, 99.0, "this test")
    monkeypatch.setitem(weight_files.PUBLISHED, "MLPMixerB32", {"more": more, **names})
    best = weight_files.name_of("MLPMixerB32", "imagenet")
    assert best[2:] == str(72.0 if any(figures) else None)
    assert any(figures) or best == "0_None"


def test_imagenet_is_fetched_under_the_name_of_the_weights(server, cache, monkeypatch, caplog):
    publish(monkeypatch, "MLPMixerB32", "one", url=server.url)
    with caplog.at_level(logging.WARNING, logger="keras_mixers"):
        path = weight_files.path_of("MLPMixerB32", "imagenet")
    assert path == weight_files.path_of("MLPMixerB32", "one") == str(cache / "MLPMixerB32_one.npz")
    assert server.requests == 1
    assert caplog.messages == [f"weights: 'imagenet' of MLPMixerB32 is 'one', made for {SCALING}"]


def test_imagenet_is_listed_where_there_is_one(monkeypatch):
    with pytest.raises(ValueError, match=r"'gsam', or 'imagenet' \(here 'sam'\)\. Received"):
        keras_mixers.MLPMixerB32(weights="imagenet1000")
    with pytest.raises(ValueError, match=r"published: none\..*'imagenet', which is published for "):
        keras_mixers.MLPMixerS4(weights="imagenet")
    publish(monkeypatch, "MLPMixerB32", "more", url="", classes=21843)
    with pytest.raises(ValueError, match=r"published: 'more'\. Received: weights='imagenet'"):
        keras_mixers.MLPMixerB32(weights="imagenet")


def test_weights_are_listed_by_a_pattern():
    every = keras_mixers.list_weights()
    assert every == [(v, w) for v, names in weight_files.PUBLISHED.items() for w in names]
    smlpnets = [("SMLPNetS", "imagenet1k"), ("SMLPNetB", "imagenet1k")]
    assert keras_mixers.list_weights("smlp*") == keras_mixers.list_weights("S*") == smlpnets
    assert keras_mixers.list_weights("*.SAM") == [("MLPMixerB32", "sam"), ("MLPMixerB16", "sam")]
    assert keras_mixers.list_weights("mlpmixerl16") == keras_mixers.list_weights("*L16.*")
    assert keras_mixers.list_weights("sam") == keras_mixers.list_weights("*.sam")
    assert keras_mixers.list_weights("imagenet21k") == [
        ("MLPMixerB16", "imagenet21k"),
        ("MLPMixerL16", "imagenet21k"),
    ]
    assert keras_mixers.list_weights("jft") == []
    with pytest.raises(ValueError, match=r"`pattern` must be a string .* Received: pattern=3"):
        keras_mixers.list_weights(3)
