import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mixers.data import dataset as data_module
from keras_mixers.data.batch_order import Shard
from keras_mixers.data.dataset import ArrayData, ImageData
from keras_mixers.data.sources import open_source
from keras_mixers.errors import UsageError
from keras_mixers.presets import digits_mixer, mixer_b16, smlpnet_t
from tests.helpers import image_files

pytestmark = pytest.mark.tensorflow

PLAIN = dataclasses.replace(digits_mixer.CONFIG, image_size=24, batch_size=8, epochs=3)
EVERYTHING = dataclasses.replace(
    smlpnet_t.CONFIG, image_size=24, batch_size=12, color_jitter=0.4, epochs=30
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = image_files.write_folder(tmp_path_factory.mktemp("images"))
    return ImageData(open_source(str(folder), "", "train"))


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    folder = image_files.write_folder(tmp_path_factory.mktemp("images"))
    return ImageData(open_source(str(folder), "", "validation"))


@pytest.fixture(scope="module")
def noise_data(tmp_path_factory):
    """Images of noise."""
    folder = image_files.write_folder(tmp_path_factory.mktemp("images"))
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 48, 3)).astype("uint8")
    for path, image in zip(sorted((folder / "train").rglob("*.jpg")), noise, strict=True):
        path.write_bytes(image_files.encode(image))
    return ImageData(open_source(str(folder), "", "train"))


@pytest.fixture(scope="module")
def first_batches(data):
    """The first seven, by the settings: their pipelines take seconds to build."""
    return {"plain": take(data, PLAIN, 7), "everything": take(data, EVERYTHING, 7)}


def take(data, config, count, start=0, shard=Shard()):  # noqa: B008
    batches = data.training_batches(config, start, shard).take(count)
    return [[array.numpy() for array in batch] for batch in batches]


def numbered(count):
    """Images whose one pixel is their number, which is also their class."""
    images = np.arange(count, dtype="float32").reshape(count, 1, 1, 1)
    return ArrayData(images, np.arange(count), count)


NUMBERED = dataclasses.replace(PLAIN, batch_size=4, label_smoothing=0.0)


def order(steps, images=10, **changes):
    config = dataclasses.replace(NUMBERED, **changes)
    return [labels.argmax(-1) for _, labels, _ in take(numbered(images), config, steps)]


def test_order_is_a_function_of_seed_and_step():
    np.testing.assert_array_equal(order(6, seed=3), order(6, seed=3))
    assert not np.array_equal(order(6, seed=3), order(6, seed=4))


def test_an_epoch_repeats_no_image_and_the_next_has_another_order():
    batches = order(20)
    for epoch in range(10):
        assert len(set(np.concatenate(batches[2 * epoch : 2 * epoch + 2]))) == 8
    assert len({tuple(np.concatenate(batches[i : i + 2])) for i in range(0, 20, 2)}) == 10


def test_every_image_has_its_turn_about_equally_often():
    counts = np.bincount(np.concatenate(order(500)), minlength=10)
    assert counts.sum() == 2000
    assert (np.abs(counts - 200) < 40).all()


def test_images_and_labels_stay_together():
    for images, labels, bad in take(numbered(10), NUMBERED, 5):
        np.testing.assert_array_equal(images.ravel(), labels.argmax(-1))
        assert (bad == -1).all()


def test_repeated_augmentation_repeats_each_image_in_the_batch():
    for labels in order(4, images=24, batch_size=12, repeated_augmentation=3):
        assert (np.unique(labels, return_counts=True)[1] == 3).all()
        # A third of the batch away, and beside another neighbor.
        pairs = labels.reshape(-1, 2)
        neighbors = {(a, b) for a, b in [*pairs, *pairs[:, ::-1]]}
        assert len(neighbors) == 8
        np.testing.assert_array_equal(np.roll(labels[:4], -1), labels[4:8])


def test_arrays_are_evaluated_in_order_once_each():
    batches = list(numbered(10).evaluation_batches(NUMBERED))
    weights = np.concatenate([batch[2] for batch in batches])
    labels = np.concatenate([batch[1] for batch in batches]).argmax(-1)
    np.testing.assert_array_equal(labels[weights == 1], range(10))
    assert len(labels) == 12


def test_batch_size_must_fit_the_data():
    config = dataclasses.replace(NUMBERED, batch_size=11)
    with pytest.raises(UsageError, match=r"from 1 to .* 10\. Received: 11"):
        take(numbered(10), config, 1)


CONFIGS = {"plain": PLAIN, "everything": EVERYTHING}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_can_start_at_any_step(data, name, first_batches):
    from_step_five = take(data, CONFIGS[name], 2, start=5)
    for batch, same in zip(first_batches[name][5:], from_step_five, strict=True):
        for array, same_array in zip(batch, same, strict=True):
            np.testing.assert_array_equal(array, same_array)


@pytest.mark.parametrize("name", CONFIGS)
def test_batches_do_not_depend_on_how_they_are_shared(data, name, first_batches):
    """One device; two of one host; one of each of two hosts; two parts one after the other."""
    config, whole = CONFIGS[name], first_batches[name]
    two = take(data, config, 6, shard=Shard(2, 0, 2))
    hosts = [take(data, config, 3, shard=Shard(2, host, 1)) for host in (0, 1)]
    parts = take(data, dataclasses.replace(config, gradient_accumulation_steps=2), 6)
    for step in range(3):
        for i in range(3):
            for halves in (
                (two[2 * step][i], two[2 * step + 1][i]),
                (hosts[0][step][i], hosts[1][step][i]),
                (parts[2 * step][i], parts[2 * step + 1][i]),
            ):
                np.testing.assert_array_equal(np.concatenate(halves), whole[step][i])


def test_each_image_and_each_epoch_draws_its_own(data):
    config = dataclasses.replace(EVERYTHING, mixup=0.0, cutmix=0.0)
    images = np.concatenate([batch[0] for batch in take(data, config, 8)])
    distinct = len(np.unique(images.reshape(len(images), -1).round(3), axis=0))
    assert distinct > 0.9 * len(images)  # An image may well be left as it is, twice.


@pytest.mark.parametrize("config", [PLAIN, mixer_b16.CONFIG])
def test_shapes_are_static(data, validation, config):
    config = dataclasses.replace(config, image_size=24, batch_size=8)
    size = (8, 24, 24, 3)
    specs = data.training_batches(config).element_spec
    assert [tuple(spec.shape) for spec in specs] == [size, (8, 3), (8,)]
    assert specs[0].dtype == tf.uint8  # Images travel as bytes.
    specs = validation.evaluation_batches(config).element_spec
    assert [tuple(spec.shape) for spec in specs] == [size, (8, 3), (8,), (8,)]
    assert specs[0].dtype == tf.uint8


def test_labels_are_smoothed_and_mixed(first_batches):
    _, labels, _ = first_batches["plain"][0]
    np.testing.assert_allclose(np.sort(labels, -1), [[0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3]] * 8, 1e-5)
    mixed = np.concatenate([labels for _, labels, _ in first_batches["everything"][:4]])
    np.testing.assert_allclose(mixed.sum(-1), 1, rtol=1e-5)
    assert len(np.unique(mixed.round(3))) > 20
    # Both of a pair with the same weight: their sum is that of two labels.
    pairs = mixed.reshape(-1, 2, 3).sum(1) - 2 * 0.1 / 3
    np.testing.assert_allclose(pairs / 0.9, (pairs / 0.9).round(), atol=1e-4)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_evaluation_crops_the_center(tmp_path, interpolation):
    """224/256 of the shorter side, against Pillow."""
    image = Image.effect_mandelbrot((80, 64), (-2, -1.5, 1, 1.5), 100).convert("RGB")
    folder = image_files.write_folder(tmp_path, 1, 1)
    for name in image_files.CLASSES:
        image.save(folder / "validation" / name / "0.png")
        (folder / "validation" / name / "0.jpg").unlink()
    data = ImageData(open_source(str(folder), "", "validation"))
    config = dataclasses.replace(PLAIN, eval_crop=0.875, image_size=28, interpolation=interpolation)
    got = next(iter(data.evaluation_batches(config)))[0].numpy()[0].astype("float32")
    box = (12, 4, 68, 60)
    method = Image.Resampling[interpolation.upper()]  # Pillow's are antialiased.
    expected = np.array(image.crop(box).resize((28, 28), method), "float32")
    assert np.abs(got - expected).mean() < 1
    shifted = image.crop((8, 4, 64, 60)).resize((28, 28), method)
    assert np.abs(got - np.array(shifted, "float32")).mean() > 4


def test_random_crops_cover_areas_and_aspects(tmp_path):
    """An image that tells where each pixel was: red is the column, green is the row."""
    rows, columns = np.mgrid[:200, :200].astype("uint8")
    where = np.stack([columns, rows, rows * 0], -1)
    folder = image_files.write_folder(tmp_path, 1, 1)
    for name in image_files.CLASSES:
        (folder / "train" / name / "0.jpg").unlink()
        (folder / "train" / name / "0.png").write_bytes(image_files.encode(where, "PNG"))
    data = ImageData(open_source(str(folder), "", "train"))
    config = dataclasses.replace(PLAIN, batch_size=2, crop_min_area=0.2, image_size=32)
    images = np.concatenate([batch[0] for batch in take(data, config, 150)])
    where = images.astype("float32")
    wide = where[..., 0].max((1, 2)) - where[..., 0].min((1, 2)) + 200 / 32
    tall = where[..., 1].max((1, 2)) - where[..., 1].min((1, 2)) + 200 / 32
    share, aspect = wide * tall / 200**2, wide / tall
    assert 0.15 < share.min() < 0.3
    assert 0.9 < share.max() < 1.1
    assert 0.7 < aspect.min() < 0.82
    assert 1.2 < aspect.max() < 1.4


@pytest.mark.parametrize("mode", ["L", "CMYK", "I;16", "RGBA", "P", "1", "LA"])
def test_every_kind_of_image_becomes_rgb(tmp_path, mode):
    gray = Image.linear_gradient("L").resize((48, 48))
    if mode == "I;16":
        image = Image.fromarray(np.array(gray, "uint16") * 257)
    else:
        image = gray.convert("RGB").convert(mode) if mode not in ("L", "1", "LA") else gray
        image = image.convert(mode)
    kind = "JPEG" if mode in ("L", "CMYK") else "PNG"
    folder = image_files.write_folder(tmp_path, 1, 1)
    for name in image_files.CLASSES:
        # By its bytes, not by its name: ImageNet has a PNG file named .JPEG.
        (folder / "validation" / name / "0.jpg").write_bytes(image_files.encode(image, kind))
    data = ImageData(open_source(str(folder), "", "validation"))
    config = dataclasses.replace(PLAIN, image_size=48, eval_crop=1.0)
    images, _, weights, bad = (x.numpy() for x in next(iter(data.evaluation_batches(config))))
    assert weights[:3].all()
    assert (bad == -1).all()
    expected = np.array(image.convert("L") if mode != "I;16" else gray, "float32")
    got = images[0].astype("float32")
    assert np.abs(got - expected[..., None]).mean() < 4


def spoil(folder, *names):
    """Makes images unreadable, each in another way; returns their paths."""
    ways = [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"GIF89a nonsense" + b[9:]]
    paths = [folder / "train" / name for name in names]
    for path, way in zip(paths, ways, strict=False):
        path.write_bytes(way(path.read_bytes()))
    return paths


def test_unreadable_images_are_replaced_by_their_neighbors_and_told(tmp_path):
    folder = image_files.write_folder(tmp_path)
    spoiled = spoil(folder, "ant/0.jpg", "bee/3.jpg", "cow/7.jpg")
    data = ImageData(open_source(str(folder), "", "train"))
    found = set()
    for images, labels, bad in take(data, PLAIN, 3):
        for place in np.flatnonzero(bad >= 0):
            found.add(data.name(bad[place]))
            np.testing.assert_array_equal(images[place], images[place ^ 1])
            np.testing.assert_array_equal(labels[place], labels[place ^ 1])
        good = bad < 0
        np.testing.assert_array_equal(images[good].mean((1, 2)).argmax(-1), labels[good].argmax(-1))
    assert found == {str(path) for path in spoiled}
    index = [data.name(i) for i in range(len(data))].index(str(spoiled[1]))
    assert "JPEG" in data.why_unreadable(index, PLAIN)
    good = [i for i in range(len(data)) if data.name(i) not in map(str, spoiled)]
    assert {data.why_unreadable(i, PLAIN) for i in good} == {""}


def test_what_replaces_an_unreadable_image_does_not_depend_on_the_share(tmp_path):
    folder = image_files.write_folder(tmp_path)
    spoil(folder, "ant/0.jpg", "bee/3.jpg", "cow/7.jpg")
    data = ImageData(open_source(str(folder), "", "train"))
    config = dataclasses.replace(PLAIN, batch_size=12)
    whole = take(data, config, 2)
    thirds = take(data, dataclasses.replace(config, gradient_accumulation_steps=3), 6)
    for step in range(2):
        for i in range(3):
            joined = np.concatenate([part[i] for part in thirds[3 * step : 3 * step + 3]])
            np.testing.assert_array_equal(joined, whole[step][i])
    with pytest.raises(UsageError, match=r"multiple of 8"):  # Parts of 3 would part a pair.
        take(data, dataclasses.replace(config, gradient_accumulation_steps=4), 1)


def test_two_unreadable_neighbors_are_blank_and_without_label(tmp_path):
    folder = image_files.write_folder(tmp_path)
    for path in folder.rglob("*.jpg"):
        path.write_bytes(b"nothing")
    data = ImageData(open_source(str(folder), "", "train"))
    ((images, labels, bad),) = take(data, PLAIN, 1)
    assert (bad >= 0).all()
    np.testing.assert_array_equal(labels, 0)
    np.testing.assert_array_equal(images, 0)


def test_unreadable_images_do_not_count_in_evaluation(tmp_path):
    folder = image_files.write_folder(tmp_path)
    spoil(folder, "ant/0.jpg")
    data = ImageData(open_source(str(folder), "", "train"))
    batches = list(data.evaluation_batches(dataclasses.replace(PLAIN, batch_size=16)))
    weights, bad = (np.concatenate([batch[i] for batch in batches]) for i in (2, 3))
    assert weights.sum() == 23
    assert [data.name(i) for i in bad[bad >= 0]] == [str(folder / "train/ant/0.jpg")]


def test_a_label_outside_the_classes_is_an_unreadable_image(tmp_path):

    from keras_mixers.data import shards

    folder = image_files.write_folder(tmp_path / "folder")
    shards.make_shards(folder, tmp_path / "shards", 1)
    (tmp_path / "shards" / "classes.txt").write_text("ant\nbee\n")
    data = ImageData(open_source(str(tmp_path / "shards"), "", "train"))
    bad = np.concatenate([batch[2] for batch in take(data, PLAIN, 3)])
    assert (bad >= 0).sum() == 8
    reason = data.why_unreadable(int(bad.max()), PLAIN)
    assert reason == "its label must be from 0 to 1; it is 2"


def test_mixing_needs_even_parts(data):
    config = dataclasses.replace(EVERYTHING, batch_size=6)
    with pytest.raises(UsageError, match=r"must be a multiple of 4: .* pairs.* Received: 6"):
        take(data, config, 1, shard=Shard(2, 0, 1))


def test_parts_must_be_whole(data):
    with pytest.raises(UsageError, match=r"multiple of 3: 3 devices .* Received: 8"):
        take(data, PLAIN, 1, shard=Shard(3, 0, 1))


@functools.cache
def first_images(data, config):
    return take(data, config, 1)[0][0]


@functools.cache
def first_prepared(data, config):
    """The first eight images before they meet in a batch, without tracing their preparation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "_traced", {})
        patch.setattr(data_module.chunks, "traced", lambda function: function)
        patch.setattr(data_module.chunks, "batches", lambda parts, prepare, *_: (parts, prepare))
        parts, prepare = data.training_batches(config)
    places = zip(*next(iter(parts)), strict=True)
    return np.stack([prepare(*place)[0] for place in places])


RANDAUGMENT = {"randaugment": "increasing"}


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ({}, {"seed": 1}),
        ({}, {"crop_min_area": 0.2}),
        ({}, {"interpolation": "bicubic"}),
        ({}, {"flip": True}),
        ({}, {"color_jitter": 0.9}),
        ({}, {"erasing": 0.9}),
        ({}, RANDAUGMENT),
        (RANDAUGMENT, {"randaugment_layers": 4}),
        (RANDAUGMENT, {"randaugment_magnitude": 3.0}),
    ],
)
def test_every_setting_of_the_augmentation_has_an_effect(noise_data, base, change):
    config = dataclasses.replace(PLAIN, randaugment_magnitude=9.0, **base)
    before = first_prepared(noise_data, config)
    after = first_prepared(noise_data, dataclasses.replace(config, **change))
    assert before.shape == (8, 24, 24, 3)
    assert not np.array_equal(before, after)


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ({}, {"mixup": 0.8}),
        ({}, {"cutmix": 1.0}),
        ({"mixup": 0.8}, {"mixup_keeps_half": True}),
        ({}, {"repeated_augmentation": 2}),
    ],
)
def test_every_setting_of_a_batch_has_an_effect(noise_data, base, change):
    config = dataclasses.replace(PLAIN, mixup_keeps_half=False, **base)
    before = first_images(noise_data, config)
    after = first_images(noise_data, dataclasses.replace(config, **change))
    assert not np.array_equal(before, after)


def test_each_step_of_the_augmentation_draws_from_a_seed_of_its_own(monkeypatch):
    seeds = {}

    def record(name):
        def step(image, seed, *args, **kwargs):
            seeds[name] = tuple(seed.numpy())
            return image

        return step

    for name in ("flip", "color_jitter", "random_erasing"):
        monkeypatch.setattr(data_module.augmentation, name, record(name))
    monkeypatch.setattr(data_module, "rand_augment", record("rand_augment"))
    image = tf.zeros((24, 24, 3), tf.uint8)
    data_module._augment(image, tf.constant([3, 4], tf.int64), EVERYTHING)
    # In the order in which TrainingConfig lists them, which is timm's.
    assert list(seeds) == ["flip", "rand_augment", "color_jitter", "random_erasing"]
    assert len({*seeds.values(), (3, 4)}) == 5


def test_the_crop_draws_from_another_seed_than_the_augmentation(data, monkeypatch):
    seeds = {}

    def record(name, result):
        def function(first, seed, *rest):
            seeds[name] = seed.numpy()
            return result

        return function

    image = tf.zeros((24, 24, 3), tf.uint8)
    monkeypatch.setattr(data_module.cropping, "random_crop", record("crop", image))
    monkeypatch.setattr(data_module, "_augment", record("augmentation", image))
    monkeypatch.setattr(data, "_traced", {})
    monkeypatch.setattr(data_module.chunks, "traced", lambda function: function)
    monkeypatch.setattr(data_module.chunks, "batches", lambda parts, prepare, *_: prepare)
    prepare = data.training_batches(PLAIN)
    for number in range(5):
        prepare(tf.constant(number, tf.int64), tf.constant(0, tf.int64))
        drawn = {tuple(seed) for seed in seeds.values()}
        assert len(drawn | {(PLAIN.seed, number)}) == 3


def test_nothing_random_is_left_to_global_state(data, first_batches):
    tf.random.set_seed(2)
    ((again, *_),) = take(data, EVERYTHING, 1)
    np.testing.assert_array_equal(again, first_batches["everything"][0][0])
