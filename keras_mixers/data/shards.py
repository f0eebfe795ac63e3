"""Writes TFRecord shards of a folder of images, which disks and buckets read faster."""

import concurrent.futures
import dataclasses
import json
import re

import numpy as np
import tensorflow as tf
from tensorflow.io import gfile
from tqdm import tqdm

from keras_mixers.data import layout, record_files
from keras_mixers.errors import UsageError
from keras_mixers.preprocessing import image_formats

SHARD_BYTES = 150e6  # About; TensorFlow's guides advise 100 MB and more.
SEED = 0
_SCRATCH = "incomplete-shards"
_RESULT = re.compile(r"classes\.txt|counts\.json|(train|validation|test)-\d{5}-of-\d{5}\.tfrecord")
_SAMPLE = 1000  # Files whose sizes are asked: a bucket would need hours for a million.
_READERS = 16
_READ_AHEAD = 128  # Files.


@dataclasses.dataclass
class Split:
    """What was written of one split."""

    name: str
    shards: int
    images: int = 0
    size: int = 0
    """Bytes of all images."""
    labels: set = dataclasses.field(default_factory=set)
    counts: dict = dataclasses.field(default_factory=dict)
    """Number of images by name of the shard."""
    left_out: list = dataclasses.field(default_factory=list)
    """Names of the files that are no images."""


def make_shards(images, out, shards=None, overwrite=False):
    """Writes TFRecord shards, `classes.txt` and `counts.json`.

    `keras-mixers make-shards --help` says what is in them.

    Args:
        images: Folder with a folder per split, which has a folder per class.
        out: Folder for the result.
        shards: Number of shards of each split; such that one has about 150 MB if `None`.
        overwrite: Whether to replace the shards in `out`.

    Returns:
        A list of `Split`s.

    Raises:
        ValueError: A folder is empty or not of this form; `out` has shards already.
        tf.errors.OpError: Something cannot be read or written.
    """
    images, out = str(images).rstrip("/"), str(out).rstrip("/")
    _check_out(images, out, overwrite)
    classes, files, left_out = _find(images)
    smallest = min(map(len, files.values()))
    if shards and shards > smallest:
        raise ValueError(
            "`shards` must be at most the number of files of the smallest split, "
            f"{smallest}. Received: {shards}"
        )
    scratch = f"{out}/{_SCRATCH}"
    if gfile.exists(scratch):
        gfile.rmtree(scratch)
    gfile.makedirs(scratch)
    with gfile.GFile(f"{scratch}/classes.txt", "w") as file:
        file.write("".join(f"{name}\n" for name in classes))
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        splits = [Split(name, 0, left_out=left_out[name]) for name in files]
        for split in splits:
            _write(images, scratch, split, files[split.name], shards, pool)
    counts = {name: count for split in splits for name, count in split.counts.items()}
    with gfile.GFile(f"{scratch}/{record_files.INDEX}", "w") as file:
        file.write(json.dumps(counts, indent=1) + "\n")
    _put_in_place(scratch, out)
    return splits


def _check_out(images, out, overwrite):
    if f"{out}/".startswith(f"{images}/"):
        raise ValueError(f"`out` must not be in `images`: choose another. Received: {out}")
    if gfile.exists(out) and not gfile.isdir(out):
        raise ValueError(f"`out` must be a folder. Received the file: {out}")
    names = [name.rstrip("/") for name in gfile.listdir(out)] if gfile.exists(out) else []
    was_cut_short = _SCRATCH in names and "classes.txt" not in names
    if any(map(_RESULT.fullmatch, names)) and not (overwrite or was_cut_short):
        raise ValueError(
            "`out` must be without shards: choose another folder or pass --overwrite. "
            f"Received: {out}"
        )


def _find(images):
    """Returns the class names, and for each split `(label, name)` of every file and a `Split`."""
    try:
        found = layout.find(images)
        labels = {}
        if "train" in found.splits:
            labels = {name: n for n, name in enumerate(layout.classes(found.splits["train"]))}
        classes = {split: layout.classes(top) for split, top in found.splits.items()}
    except UsageError as error:
        raise ValueError(
            f"`images` must hold a folder per class, in a folder per split or not: {error}"
        ) from None
    if not labels:
        raise ValueError(
            "`images` must hold a folder train, or a folder per class. Received: "
            f"{', '.join(layout.folders(images)) or 'no folders'} in {images}"
        )
    chosen, left = {}, {}
    for split in (name for name in layout.SPLITS if name in classes):
        top, cut = found.splits[split], len(images) + 1
        lacking = sorted(set(classes[split]) - set(labels))
        if not classes[split] or lacking:
            raise ValueError(
                "`images` must have in each split one folder per class, of the classes in "
                f"train. Received: {top} with {' and '.join(lacking) or 'no folders'}"
            )
        chosen[split], left[split] = [], layout.loose_images(top)
        for name, places in classes[split].items():
            paths, others = layout.images_in(places)
            left[split] += [path for kind in others.values() for path in kind]
            if not paths:
                raise ValueError(
                    "`images` must have images for every class: add some or remove the folder. "
                    f"Received the folder without any: {top}/{name}"
                )
            chosen[split] += [(labels[name], path[cut:]) for path in paths]
        left[split] = [path[cut:] for path in left[split]]
    return list(labels), chosen, left


def _usual_shards(images, files, pool):
    chosen = np.random.default_rng(SEED).permutation(len(files))[:_SAMPLE]
    paths = [f"{images}/{files[index][1]}" for index in chosen]
    mean = np.mean([stat.length for stat in pool.map(gfile.stat, paths)])
    return int(np.clip(round(mean * len(files) / SHARD_BYTES), 1, len(files)))


def _write(images, folder, split, files, shards, pool):
    """Writes all shards of a split into `folder`, and notes them in the `Split`."""
    name, split.shards = split.name, shards or _usual_shards(images, files, pool)
    order = np.random.default_rng(SEED).permutation(len(files))
    with tqdm(total=len(files), desc=name, unit=" files") as bar:
        for shard in range(split.shards):
            path = f"{folder}/{name}-{shard:05d}-of-{split.shards:05d}.tfrecord"
            chosen = [files[index] for index in order[shard :: split.shards]]
            with tf.io.TFRecordWriter(path) as writer:
                for label, file, image in _read(images, chosen, pool):
                    bar.update()
                    if image_formats.of(image) is None:
                        split.left_out.append(file)
                        continue
                    writer.write(_example(image, label, file))
                    name_of_shard = path.rpartition("/")[-1]
                    split.counts[name_of_shard] = split.counts.get(name_of_shard, 0) + 1
                    split.images += 1
                    split.size += len(image)
                    split.labels.add(label)
    if not split.images:
        raise ValueError(
            f"`images` must hold files of images. Received for {name} only files of other "
            f"kinds, such as: {split.left_out[0]}"
        )
    return split


def _read(images, files, pool):
    """Yields `(label, name, bytes)` in order, with many files being read at a time."""

    def read(file):
        with gfile.GFile(f"{images}/{file[1]}", "rb") as opened:
            return *file, opened.read()

    for start in range(0, len(files), _READ_AHEAD):
        yield from pool.map(read, files[start : start + _READ_AHEAD])


def _example(image, label, name):
    from tensorflow.train import BytesList, Example, Feature, Features, Int64List

    feature = {
        "image": Feature(bytes_list=BytesList(value=[image])),
        "label": Feature(int64_list=Int64List(value=[label])),
        "name": Feature(bytes_list=BytesList(value=[name.encode()])),
    }
    return Example(features=Features(feature=feature)).SerializeToString()


def _put_in_place(scratch, out):
    """Replaces earlier shards. While there is no classes.txt in `out`, they are not complete."""
    for name in sorted(filter(_RESULT.fullmatch, gfile.listdir(out))):  # classes.txt goes first...
        gfile.remove(f"{out}/{name}")
    for name in sorted(gfile.listdir(scratch), reverse=True):  # ... and comes last.
        gfile.rename(f"{scratch}/{name}", f"{out}/{name}")
    gfile.rmtree(scratch)
