"""Writes TFRecord shards of a folder of images, which disks and buckets read faster."""

import concurrent.futures
import dataclasses
import re

import numpy as np
import tensorflow as tf
from tensorflow.io import gfile
from tqdm import tqdm

from keras_mixers.data.folders import is_image

SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
SHARD_BYTES = 150e6  # About; TensorFlow's guides advise 100 MB and more.
SEED = 0
_SCRATCH = "incomplete-shards"
_RESULT = re.compile(r"classes\.txt|(train|validation|test)-\d{5}-of-\d{5}\.tfrecord")
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
    left_out: list = dataclasses.field(default_factory=list)
    """Names of the files that are no images."""


def make_shards(images, out, shards=None, overwrite=False):
    """Writes TFRecord shards and `classes.txt`.

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
    classes, files = _find(images)
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
        splits = [_write(images, scratch, name, files[name], shards, pool) for name in files]
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
    """Returns the class names, and for each split `(label, name)` of every file, sorted."""
    folders = _folders(images)
    splits = {SPLITS.get(folder): folder for folder in folders}
    if "train" not in splits or None in splits or len(splits) < len(folders):
        raise ValueError(
            "`images` must hold a folder train and may hold one validation (or val) and one "
            f"test, but no others. Received: {', '.join(folders) or 'no folders'} in {images}"
        )
    labels = {name: label for label, name in enumerate(_folders(f"{images}/train"))}
    files = {}
    for split in sorted(splits, key=list(SPLITS.values()).index):
        folder = f"{images}/{splits[split]}"
        classes = _folders(folder)
        lacking = sorted(set(classes) - set(labels))
        if not classes or lacking:
            raise ValueError(
                "`images` must have in each split one folder per class, of the classes in "
                f"train. Received: {folder} with {' and '.join(lacking) or 'no folders'}"
            )
        lists = [(name, _files(f"{folder}/{name}")) for name in classes]
        for name, paths in lists:
            if not paths:
                raise ValueError(
                    "`images` must have files for every class: add some or remove the folder. "
                    f"Received the empty folder: {folder}/{name}"
                )
        cut = len(images) + 1
        files[split] = [(labels[name], path[cut:]) for name, paths in lists for path in paths]
    return list(labels), files


def _folders(path):
    _, names, _ = next(gfile.walk(path), (path, [], []))
    return sorted(name.rstrip("/") for name in names if not name.startswith("."))


def _files(folder):
    names = [
        f"{root.rstrip('/')}/{name}"[len(folder) :]
        for root, _, names in gfile.walk(folder)
        for name in names
    ]
    return [folder + name for name in sorted(names) if "/." not in name]


def _usual_shards(images, files, pool):
    chosen = np.random.default_rng(SEED).permutation(len(files))[:_SAMPLE]
    paths = [f"{images}/{files[index][1]}" for index in chosen]
    mean = np.mean([stat.length for stat in pool.map(gfile.stat, paths)])
    return int(np.clip(round(mean * len(files) / SHARD_BYTES), 1, len(files)))


def _write(images, folder, name, files, shards, pool):
    """Writes all shards of a split into `folder`; returns its `Split`."""
    split = Split(name, shards or _usual_shards(images, files, pool))
    order = np.random.default_rng(SEED).permutation(len(files))
    with tqdm(total=len(files), desc=name, unit=" files") as bar:
        for shard in range(split.shards):
            path = f"{folder}/{name}-{shard:05d}-of-{split.shards:05d}.tfrecord"
            chosen = [files[index] for index in order[shard :: split.shards]]
            with tf.io.TFRecordWriter(path) as writer:
                for label, file, image in _read(images, chosen, pool):
                    bar.update()
                    if not is_image(image):
                        split.left_out.append(file)
                        continue
                    writer.write(_example(image, label, file))
                    split.images += 1
                    split.size += len(image)
                    split.labels.add(label)
    if not split.images:
        raise ValueError(
            f"`images` must hold JPEG or PNG files. Received for {name} only files of other "
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
