"""decode_predictions: the right names for the right scores, from public lists or one's own."""

import hashlib
import json
import socket

import keras
import numpy as np
import pytest

import keras_mixers
from keras_mixers.models import class_lists, mlp_mixer, predictions
from keras_mixers.models.predictions import decode_predictions
from tests.helpers import file_server

SYNSETS = [f"n{i:08}" for i in range(9)]
PLAIN = "\n".join(SYNSETS[:4]).encode() + b"\n"
LEMMAS = "".join(f"{s}\tgray whale {s[-1]}, Other, name\n" for s in SYNSETS).encode()
INDEX = json.dumps({str(i): [f"n{i}", f"name_{i}"] for i in (2, 0, 1)}).encode()


def as_file(content, url, entries):
    digest = hashlib.sha256(content).hexdigest()
    return class_lists._File(url, "sha256", digest, "models/here", entries)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models" / "here"


@pytest.fixture
def small_lists(folder, monkeypatch):
    """Lists of 3 and of 4 classes, that lie in the cache already."""
    folder.mkdir(parents=True)
    files = {}
    for name, content, entries in (("json", INDEX, 3), ("ids", PLAIN, 4), ("lemmas", LEMMAS, 9)):
        (folder / name).write_bytes(content)
        files[name] = as_file(content, f"http://127.0.0.1:9/{name}", entries)
    lists = {3: (files["json"],), 4: (files["ids"], files["lemmas"])}
    monkeypatch.setattr(class_lists, "FILES", lists)


@pytest.mark.parametrize("family", ["mlp_mixer", "s2_mlp", "smlpnet"])
def test_every_family_has_it(family):
    assert getattr(keras_mixers, family).decode_predictions is decode_predictions


@pytest.mark.usefixtures("small_lists")
@pytest.mark.parametrize("kind", ["array", "tensor", "half"])
def test_the_list_is_told_by_the_number_of_classes(kind):
    scores = np.array([[0.25, 0.5, 0.125, 0.0], [0.0, 0.25, 0.25, 1.0]], "float32")
    if kind != "array":
        scores = keras.ops.convert_to_tensor(scores, "float32" if kind == "tensor" else "bfloat16")
    assert decode_predictions(scores, top=3) == [
        [
            ("n00000001", "gray_whale_1", 0.5),
            ("n00000000", "gray_whale_0", 0.25),
            ("n00000002", "gray_whale_2", 0.125),
        ],
        [
            ("n00000003", "gray_whale_3", 1.0),
            ("n00000001", "gray_whale_1", 0.25),
            ("n00000002", "gray_whale_2", 0.25),
        ],
    ]
    assert decode_predictions(scores[:, :3], 1) == [
        [("n1", "name_1", 0.5)],
        [("n1", "name_1", 0.25)],
    ]
    assert decode_predictions(scores[:0]) == []


@pytest.mark.usefixtures("small_lists")
def test_the_five_best_are_the_default():
    scores = np.arange(7, dtype="float32")[None]
    (found,) = decode_predictions(scores, class_names=list("abcdefg"))
    assert [len(fewer) for fewer in decode_predictions(scores[:, :4])] == [4]
    assert found == [(6, "g", 6), (5, "f", 5), (4, "e", 4), (3, "d", 3), (2, "c", 2)]


@pytest.mark.usefixtures("small_lists")
def test_names_of_ones_own_win(tmp_path):
    scores = np.array([[0.25, 0.5, 0.125]], "float32")
    expected = [[(1, "fire truck", 0.5), (0, "é", 0.25)]]
    names = ["é", "fire truck", " c "]
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(names) + "\n", encoding="utf-8")
    for given in (names, tuple(names), np.array(names), labels, str(labels), tmp_path):
        assert decode_predictions(scores, 2, given) == expected
    assert decode_predictions(scores, 3, labels)[0][2] == (2, " c ", 0.125)


@pytest.mark.usefixtures("small_lists")
def test_that_names_were_assumed_is_said_once(caplog):
    predictions._report_assumed.cache_clear()
    decode_predictions(np.zeros((1, 3)), class_names=list("abc"))
    assert caplog.text == ""
    for _ in range(2):
        decode_predictions(np.zeros((1, 3)))
    (line,) = caplog.messages
    assert line.startswith("decode_predictions: 3 classes are taken for ImageNet's")


@pytest.mark.parametrize(
    ("scores", "arguments", "match"),
    [
        (np.full((2, 3), np.nan), {}, "`predictions` must be numbers.* NaN in 2 of 2 samples$"),
        (np.zeros((1, 3)), dict(class_names=set("abc")), "`class_names` must be a seq.*: set$"),
        (np.zeros((1, 3)), dict(class_names={"a": 0, "b": 1, "c": 2}), "Received: dict$"),
        (np.zeros(3), {}, r"shape \(batch, classes\): for one .* shape=\(3,\)$"),
        (np.zeros((1, 2, 3)), {}, r"Received: shape=\(1, 2, 3\)$"),
        ([[1.0]], {}, "`predictions` must be a NumPy array or a tensor.* Received: list$"),
        (keras.Input((1000,)), {}, "Received: KerasTensor$"),
        (np.zeros((1, 3)), dict(top=0), "`top` must be a positive integer"),
        (np.zeros((1, 3)), dict(top=2.0), "`top` must be a positive integer"),
        (np.zeros((1, 7)), {}, r"\(1000, 21843, 11221\): give class_names=.* Received: 7 classes$"),
        (np.zeros((1, 3)), dict(class_names=["a"]), "for each of the 3 classes.*: 1 names$"),
        (np.zeros((1, 3)), dict(class_names="abc"), "Received: 'abc', which cannot be read"),
    ],
)
def test_what_cannot_be_decoded_is_said_in_one_sentence(scores, arguments, match):
    with pytest.raises(ValueError, match=match) as raised:
        mlp_mixer.decode_predictions(scores, **{"top": 1, **arguments})
    assert "\n" not in str(raised.value)


def test_a_list_is_fetched_once_and_checked(folder, monkeypatch):
    with file_server.serving(INDEX) as server:
        monkeypatch.setattr(class_lists, "FILES", {3: (as_file(INDEX, server.url, 3),)})
        for _ in range(2):
            assert class_lists.of(3) == (("n0", "name_0"), ("n1", "name_1"), ("n2", "name_2"))
        assert server.requests == 1
    assert [path.name for path in folder.iterdir()] == ["file.npz"]  # The end of the URL.


@pytest.mark.parametrize("content", [b"", INDEX[:-1], INDEX + b"\n", b"<html>Log in</html>"])
def test_another_file_is_not_taken_for_the_list(content, folder, monkeypatch):
    with file_server.serving(content) as server:
        monkeypatch.setattr(class_lists, "FILES", {3: (as_file(INDEX, server.url, 3),)})
        with pytest.raises(ValueError, match=r"sha256 is \w+ instead of .*give `class_names`$"):
            decode_predictions(np.zeros((1, 3)), 1)
    assert list(folder.iterdir()) == []


def test_without_network_the_sentence_says_where_to_put_the_list(folder, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/index.json"
    monkeypatch.setattr(class_lists, "FILES", {3: (as_file(INDEX, url, 3),)})
    with pytest.raises(ValueError, match=f"could not be fetched from {url}") as raised:
        decode_predictions(np.zeros((1, 3)), 1)
    assert "\n" not in str(raised.value)
    assert f"put the file by hand at {folder / 'index.json'}, or give `class_names`" in str(
        raised.value
    )


@pytest.mark.usefixtures("small_lists")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("json", b'{"0": ["n0", "a"], "1": ["n1", "b"]}'),
        ("json", b'{"0": ["n0", "a"], "1": ["n1", "b"], "3": ["n3", "c"]}'),
        ("json", b"n0\nn1\nn2\n"),
        ("json", b"[1, 2, 3]"),
        ("json", b"\xff\xfe"),
        ("ids", PLAIN + b"n9\n"),
        ("lemmas", LEMMAS[:-30]),
        ("lemmas", LEMMAS.replace(b"\t", b" ")),
    ],
)
def test_a_file_put_by_hand_must_be_the_list(name, content, folder):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} must be a list of \d classes, as at .*delete"):
        decode_predictions(np.zeros((1, 3 if name == "json" else 4)), 1)


@pytest.mark.usefixtures("small_lists")
def test_a_class_without_a_name_is_named(folder):
    (folder / "ids").write_bytes(PLAIN.replace(SYNSETS[2].encode(), b"n5"))
    with pytest.raises(ValueError, match=r"lemmas must name every class of .*ids\. It lacks 'n5'"):
        decode_predictions(np.zeros((1, 4)), 1)


def test_every_number_of_published_classes_has_a_list():
    published = keras_mixers.weights.PUBLISHED.values()
    assert {about.classes for names in published for about in names.values()} == set(
        class_lists.FILES
    )
    for classes, files in class_lists.FILES.items():
        assert files[0].entries == classes
        for file in files:
            assert file.url.startswith("https://")
            assert len(file.digest) == hashlib.new(file.algorithm).digest_size * 2


def test_models_are_listed_by_a_pattern():
    every = keras_mixers.list_models()
    variants = [v.__name__ for family in keras_mixers.VARIANTS.values() for v in family]
    assert every == variants
    assert keras_mixers.list_models("smlp*") == ["SMLPNetT", "SMLPNetS", "SMLPNetB"]
    assert keras_mixers.list_models("*MIXERB*") == ["MLPMixerB32", "MLPMixerB16"]
    assert keras_mixers.list_models("resnet*") == []
    with pytest.raises(ValueError, match=r"`pattern` must be a string .* Received: pattern=None"):
        keras_mixers.list_models(None)
