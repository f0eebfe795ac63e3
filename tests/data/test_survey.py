"""What a person should know of their images before a model is trained on them."""

import dataclasses
import re

import numpy as np
import pytest
from PIL import Image

from keras_mixers.data import survey
from keras_mixers.data.dataset import ImageData
from keras_mixers.data.sources import open_source
from keras_mixers.errors import RunError
from keras_mixers.training.config import TrainingConfig
from tests.helpers.image_files import colorful, encode, write_folder

pytestmark = pytest.mark.tensorflow
CONFIG = TrainingConfig(image_size=16, batch_size=8, randaugment="none", mixup=0.0)


def look(folder, config=CONFIG):
    training = ImageData(open_source(str(folder), "", "train"))
    validation = ImageData(open_source(str(folder), "", "validation"), training.class_names)
    return survey.look(config, training, validation)


@pytest.fixture
def folder(tmp_path):
    """Without images that are alike."""
    write_folder(tmp_path)
    rng = np.random.default_rng(0)
    for path in sorted(tmp_path.rglob("*.jpg")):
        path.write_bytes(encode(rng.integers(0, 256, (24, 20, 3), "uint8"), quality=95))
    return tmp_path


def test_nothing_is_said_where_nothing_is_special(folder, caplog):
    assert look(folder) == CONFIG
    assert caplog.messages == []


@pytest.mark.parametrize("small", [True, False])
def test_what_is_special_is_counted(small, folder, caplog, monkeypatch):
    if not small:
        monkeypatch.setattr(survey, "SMALL", 10)
    ant = folder / "train" / "ant"
    clear = np.full((24, 20, 4), 100, "uint8")
    for name in ("a.png", "b.png"):
        (ant / name).write_bytes(encode(Image.fromarray(clear), "PNG"))
        clear[0] += 1
    frames = [Image.fromarray(colorful(0, n)) for n in range(2)]
    (ant / "c.gif").write_bytes(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    rng = np.random.default_rng(1)
    (ant / "d.tiff").write_bytes(encode(rng.integers(0, 256, (20, 20, 3), "uint8"), "TIFF"))
    for number, shape in enumerate(((20, 41, 3), (41, 20, 3), (20, 39, 3))):
        data = encode(rng.integers(0, 256, shape, "uint8"), "PNG")
        (ant / f"oblong{number}.png").write_bytes(data)
    assert look(folder) == CONFIG
    of = "31 images" if small else "31 images, of those looked at,"
    of = of.rstrip(",")
    assert caplog.messages == [
        f"2 of {of} have transparent parts: put on white",
        f"1 of {of} have several frames or pages: the first one is seen",
        f"2 of {of} are more than 2 times as wide or as high as the crop, which leaves the rest of "
        "them unseen in evaluation: --crop-mode squash or pad sees all of it",
    ]
    caplog.clear()
    look(folder, dataclasses.replace(CONFIG, image_size=(16, 32)))
    assert sum("more than 2 times as wide" in line for line in caplog.messages) == 1
    assert not any("as the crop" in line for line in messages_of(folder, caplog, "pad"))


def messages_of(folder, caplog, mode):
    caplog.clear()
    look(folder, dataclasses.replace(CONFIG, crop_mode=mode))
    return caplog.messages


def test_the_range_of_deep_files_is_found_and_used(folder, caplog):
    values = np.arange(24 * 20).reshape(24, 20)
    for number in range(3):
        image = Image.fromarray((values * 4 + 900 + number).astype("uint16"))
        image.save(folder / "train" / "bee" / f"deep{number}.png")
    found = look(folder)
    assert found.value_range == (900.0, 900 + 479 * 4 + 2)
    assert re.search(r"3 of 27 images have more than 8 bits .* from 900 to 2818 ", caplog.text)
    caplog.clear()
    given = dataclasses.replace(CONFIG, value_range=(0, 4095))
    assert look(folder, given) == given
    assert "bits" not in caplog.text


@pytest.mark.parametrize("small", [True, False])
def test_the_same_image_in_both_splits_is_told(small, folder, caplog, monkeypatch):
    if not small:
        monkeypatch.setattr(survey, "SMALL", 10)
    data = (folder / "train" / "ant" / "3.jpg").read_bytes()
    (folder / "validation" / "cow" / "same.jpg").write_bytes(data)
    look(folder)
    (line,) = caplog.messages
    assert line.startswith("1 of 13 images of validation are among those of train too")
    assert f"{folder}/validation/cow/same.jpg = {folder}/train/ant/3.jpg" in line


def test_the_same_pixels_in_another_format_are_the_same_image(folder, caplog):
    pixels = np.random.default_rng(2).integers(0, 256, (20, 20, 3), "uint8")
    (folder / "train" / "ant" / "x.png").write_bytes(encode(pixels, "PNG"))
    (folder / "validation" / "ant" / "x.bmp").write_bytes(encode(pixels, "BMP"))
    look(folder)
    assert "1 of 13 images of validation are among" in caplog.text


def test_all_unreadable_images_of_a_small_set_are_named_together(folder, caplog):
    broken = [folder / "train" / name for name in ("ant/1.jpg", "bee/2.jpg")]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RunError, match=r"^2 of 24 images of train could not be read, more than"):
        look(folder)
    for path in broken:
        assert re.search(rf"2 of 24 images of train cannot be read .*{path}: ", caplog.text)
    look(folder, dataclasses.replace(CONFIG, max_unreadable=0.1))
