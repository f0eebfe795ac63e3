"""A look at the images before they are trained on, and a line for what may not be expected.

Of small sets every image is looked at and decoded, of others the heads of a few hundred.
"""

import concurrent.futures
import dataclasses
import hashlib
import logging
import os

import numpy as np
import tensorflow as tf

from keras_mixers import files
from keras_mixers.data import unreadable_images
from keras_mixers.errors import first_line
from keras_mixers.preprocessing import decoding

SMALL = 2000
"""Images of a split that are all decoded before the training, within seconds."""
DECODED = 200_000_000
"""Bytes of files of a split that are, at most."""
SAMPLE = 256
"""Images of a larger split whose heads are looked at."""
_COMPARED = 100_000
"""Files whose sizes are compared, at most."""
_OBLONG, _MANY = 2, 0.02
_NAMED = 5
_log = logging.getLogger("keras_mixers")


def look(config, training, validation):
    """Returns `config` with the range of the numbers in files of more than 8 bits, if there are.

    Logs what is put on white, cropped away, passed over, unreadable, or in both splits.

    Args:
        config: A `TrainingConfig`.
        training: An `ImageData`.
        validation: An `ImageData`.

    Raises:
        RunError: More of a small set cannot be read than `config` allows.
    """
    looked_at = _Looks(training, config)
    config = _told(config, looked_at)
    splits = [looked_at.told_unreadable(config.train_split)]
    splits += [_Looks(validation, config).told_unreadable(config.validation_split)]
    hashes = [each.hashes for each in splits]
    twice = _same_pixels(*hashes) if None not in hashes else _same_files(training, validation)
    if twice:
        named = ", ".join(f"{validation.name(v)} = {training.name(t)}" for t, v in twice[:_NAMED])
        _log.warning(
            "%d of %d images of %s are among those of %s too, so that the accuracy on them says "
            "little: %s%s",
            *(len(twice), len(validation), config.validation_split, config.train_split),
            *(named, ", ..." if len(twice) > _NAMED else ""),
        )
    return config


class _Looks:
    """What was seen of a split: `facts`, `hashes` of pixels, or None of a large one, `unreadable`.

    Args:
        data: An `ImageData`.
        config: A `TrainingConfig`.
    """

    def __init__(self, data, config):
        self._data, self._config, self._left = data, config, DECODED
        self.is_small = len(data) <= SMALL
        chosen = range(len(data))
        if not self.is_small:
            chosen = np.unique(np.linspace(0, len(data) - 1, SAMPLE).astype(int)).tolist()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            looks = list(pool.map(self._look, chosen))
        self.facts = [facts for facts, _, _ in looks if facts]
        self.hashes = [key for _, key, _ in looks] if self.is_small else None
        self.unreadable = {i: why for i, (_, _, why) in zip(chosen, looks, strict=True) if why}

    def _look(self, index):
        """Returns facts, a hash of the pixels, and why the image cannot be read, or None."""
        config = self._config
        try:
            file = self._data.file(index)
            self._left -= len(file)
            found = decoding.facts(file, config.channels, config.max_pixels)
            if not self.is_small or self._left < 0:
                return found, None, None
            values = (0, 1) if found.values else None  # Any: nothing is seen of the result.
            pixels = decoding.read(file, config.channels, config.value_range or values)
        except (ValueError, OSError) as error:
            return None, None, str(error)
        except tf.errors.OpError as error:
            return None, None, first_line(error)
        key = hashlib.blake2b(pixels.tobytes(), person=b"%d" % pixels.shape[0]).digest()
        return found, key, None

    def told_unreadable(self, split):
        """Logs which images of a small split cannot be read; returns itself.

        Raises:
            RunError: They are too many.
        """
        if self.is_small and self.unreadable:
            lines = [f"{self._data.name(i)}: {why}" for i, why in self.unreadable.items()]
            _log.warning(
                "%d of %d images of %s cannot be read and are passed over: %s",
                *(len(lines), len(self._data), split, "; ".join(lines)),
            )
            unreadable_images.require_few(
                self._data, list(self.unreadable), split, self._config.max_unreadable
            )
        return self


def _told(config, looks):
    """Returns `config` with the range of deep files; logs what else is seen otherwise."""
    found = looks.facts
    of = "" if looks.is_small else ", of those looked at"
    _tell(found, of, "%d of %d images%s have transparent parts: put on white", "is_transparent")
    _tell(
        *(found, of, "%d of %d images%s have several frames or pages: the first one is seen"),
        "has_frames",
    )
    height, width = config.preprocessing.size
    oblong = [
        max(each.width * height, each.height * width)
        > _OBLONG * min(each.width * height, each.height * width)
        for each in found
    ]
    if config.crop_mode == "center" and sum(oblong) > _MANY * len(oblong):
        _log.warning(
            "%d of %d images%s are more than %d times as wide or as high as the crop, which leaves "
            "the rest of them unseen in evaluation: --crop-mode squash or pad sees all of it",
            *(sum(oblong), len(found), of, _OBLONG),
        )
    ranges = [each.values for each in found if each.values]
    if config.value_range is None and ranges:
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
        low, high = (low, high) if low < high else (low, low + 1)
        _log.warning(
            "%d of %d images%s have more than 8 bits (16-bit or real numbers): their numbers from "
            "%g to %g become black to white (--value-range %g %g)",
            *(len(ranges), len(found), of, low, high, low, high),
        )
        config = dataclasses.replace(config, value_range=(low, high))
    return config


def _tell(found, of, line, name):
    if count := sum(getattr(each, name) for each in found):
        _log.warning(line, count, len(found), of)


def _same_pixels(training, validation):
    """Returns pairs of places in both: for each image of the second, the first such one."""
    place = {}
    for number, key in enumerate(training):
        place.setdefault(key, number)  # None is no key below.
    return [(place[key], v) for v, key in enumerate(validation) if key and key in place]


def _same_files(training, validation):
    """As `_same_pixels`, of files on disk with the same bytes."""
    paths = [[data.name(i) for i in range(len(data))] for data in (training, validation)]
    if sum(map(len, paths)) > _COMPARED or files.is_remote(paths[0][0]):
        return []
    if not all(os.path.isfile(names[0]) for names in paths):
        return []  # Records.
    sizes = [[os.path.getsize(path) for path in names] for names in paths]
    both = set(sizes[0]) & set(sizes[1])
    hashes = [
        [_hash(path) if size in both else None for path, size in zip(*of_split, strict=True)]
        for of_split in zip(paths, sizes, strict=True)
    ]
    return _same_pixels(*hashes)


def _hash(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
