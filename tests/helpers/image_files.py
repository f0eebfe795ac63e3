"""Small sets of images, written by the tests themselves."""

import io

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cow")


def encode(array, kind="JPEG", **options):
    """Returns the bytes of an image given as an array of uint8, or as a `PIL.Image`."""
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    memory = io.BytesIO()
    image.save(memory, kind, **options)
    return memory.getvalue()


def colorful(label, number, size=(40, 48)):
    """An image whose color tells its class and whose brightness its number."""
    image = np.zeros((*size, 3), "uint8") + 20
    image[:, :, label] = 120 + number * 4 % 120
    return image


def write_folder(folder, per_class=8, validation_per_class=4):
    """Writes `train` and `validation` with a folder per class; returns `folder`."""
    for split, count in (("train", per_class), ("validation", validation_per_class)):
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                data = encode(colorful(label, number), quality=95)
                (folder / split / name / f"{number}.jpg").write_bytes(data)
    return folder
