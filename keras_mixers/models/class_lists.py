"""The classes of the published heads, in the order of their outputs, from public lists.

- 1,000, ImageNet-1k: the list of keras.applications, with its hash
  (https://github.com/keras-team/keras, keras/src/applications/imagenet_utils.py).
- 21,843, Google's ImageNet-21k, and 11,221, MIIL's ImageNet-21k-P of 2011: the lists of timm
  (https://github.com/huggingface/pytorch-image-models, timm/data/imagenet_info.py and
  https://github.com/huggingface/pytorch-image-models/pull/1662), which takes them for these very
  weights. Both are in the order of the WordNet ids. Google's authors name
  https://storage.googleapis.com/bit_models/imagenet21k_wordnet_ids.txt
  (https://github.com/google-research/big_transfer/issues/7), and MIIL's an archive that can only be
  unpickled (https://github.com/Alibaba-MIIL/ImageNet21K/issues/12). Hashes: of the same files in
  timm 1.0.31 on PyPI.
"""

import functools
import hashlib
import json
import os
from typing import NamedTuple

from keras_mixers import download

_KERAS = "models"  # Where keras.applications keep theirs, so that one copy serves both.
_OURS = os.path.join("models", "keras_mixers")
_TIMM = (
    "https://raw.githubusercontent.com/huggingface/pytorch-image-models/"
    "a10ed118c94d767ca9c2e1eaaa177fe993c1216d/timm/data/_info"
)


class _File(NamedTuple):
    """A public file: its address, its hash, its folder in Keras' cache and its number of lines."""

    url: str
    algorithm: str
    digest: str
    folder: str
    entries: int


_IMAGENET_1K = _File(
    "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json",
    "md5",
    "c2c37ea517e94d9795004a39431a14cb",
    _KERAS,
    1000,
)
_GOOGLE_21K = _File(
    f"{_TIMM}/imagenet21k_goog_synsets.txt",
    "sha256",
    "66362bdedf36d933382edca5493fc562dcc17128ce36403c9e730a75f48cb2f2",
    _OURS,
    21843,
)
_MIIL_21K = _File(
    f"{_TIMM}/imagenet21k_miil_synsets.txt",
    "sha256",
    "cd76d977daaa2f13a4a91fca0f53713f2f29675308d4ce0f0ee0e5b07a3164c6",
    _OURS,
    11221,
)
_LEMMAS = _File(
    f"{_TIMM}/imagenet_synset_to_lemma.txt",
    "sha256",
    "1b8babda187421a4bde0c9c5a197c36f6bdda962f7ca11ffb2813806cbb2178f",
    _OURS,
    21844,
)
FILES = {1000: (_IMAGENET_1K,), 21843: (_GOOGLE_21K, _LEMMAS), 11221: (_MIIL_21K, _LEMMAS)}


def of(classes):
    """Returns `((WordNet id, name), ...)` of the head with so many classes.

    The files are downloaded into Keras' cache on first use. Names are written as keras.applications
    have them: `"African_elephant"`.

    Args:
        classes: A key of `FILES`.

    Raises:
        ValueError: A file cannot be fetched, or is not the list that it should be.
    """
    return _read(*((file, _fetch(file)) for file in FILES[classes]))


def _fetch(file):
    def check(path):
        with open(path, "rb") as content:
            digest = hashlib.file_digest(content, file.algorithm).hexdigest()
        if digest != file.digest:
            raise ValueError(f"its {file.algorithm} is {digest} instead of {file.digest}")

    try:
        return download.into_cache(file.url, file.folder, os.path.basename(file.url), check)
    except download.DownloadError as error:
        raise ValueError(
            f"The names of the classes could not be fetched from {file.url} ({error}): try again, "
            f"put the file by hand at {error.path}, or give `class_names`"
        ) from error


@functools.cache
def _read(ids, lemmas=None):
    if lemmas is None:
        return _entries(*ids, _from_json)
    names = dict(_entries(*lemmas, _from_lemmas))
    synsets = _entries(*ids, str.split)
    unknown = next((synset for synset in synsets if synset not in names), None)
    if unknown is not None:
        raise ValueError(f"{lemmas[1]} must name every class of {ids[1]}. It lacks {unknown!r}")
    return tuple((synset, names[synset]) for synset in synsets)


def _entries(file, path, parse):
    """Returns what `parse` makes of a file's text, as a tuple of the expected length."""
    try:
        with open(path, encoding="utf-8") as content:
            entries = tuple(parse(content.read()))
    except (KeyError, TypeError, ValueError):  # Put there by hand.
        entries = ()
    if len(entries) != file.entries:
        raise ValueError(
            f"{path} must be a list of {file.entries} classes, as at {file.url}: delete it, so "
            f"that it is fetched again. Received: {len(entries)} classes"
        )
    return entries


def _from_json(text):
    index = json.loads(text)
    return [tuple(index[str(i)][:2]) for i in range(len(index))]


def _from_lemmas(text):
    """From lines such as `n02504458<tab>African elephant, Loxodonta africana`."""
    for line in text.splitlines():
        synset, lemmas = line.split("\t")
        yield synset, lemmas.split(", ")[0].replace(" ", "_")
