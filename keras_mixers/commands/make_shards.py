"""Turns a folder of pictures into TFRecord shards, which disks and buckets read faster.

PICTURES holds one folder per split: train and, if there are any, validation (or val) and test.
Each split holds one folder per class, with JPEG or PNG files in it or in folders below it. What is
a picture is told by its first bytes, whatever its name; names that begin with a dot are passed
over. Both PICTURES and OUT may be on Google Cloud Storage (gs://bucket/folder).

OUT receives
  classes.txt                       one class a line, sorted; a class's label is its line, from 0
  train-00000-of-00016.tfrecord ... and so on for the other splits; val becomes validation
Each record is a tf.train.Example with image (the file's bytes, untouched), label (int64) and name
(the path in PICTURES, such as train/dog/1.jpg). Pictures are spread over the shards in an order
shuffled with the fixed seed 0: the same folder always gives the same shards.

A run that was cut short leaves nothing under these names but the folder OUT/incomplete-shards,
and the same command starts over. Exit status: 0; 1 when the shards were written, but more than
0.1 % of the files are no pictures and were left out; 2 when the arguments cannot be used.

Examples:
  keras-mixers make-shards ~/pictures ~/shards
  keras-mixers make-shards ~/pictures gs://my-bucket/shards --shards 64 --overwrite
"""

import argparse
import concurrent.futures
import dataclasses
import re

import numpy as np

from keras_mixers.commands import cli

SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
SHARD_BYTES = 150e6  # About; TensorFlow's guides advise 100 MB and more.
SEED = 0
MAX_LEFT_OUT = 0.001  # Of all files.

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
    pictures: int = 0
    size: int = 0
    """Bytes of all pictures."""
    labels: set = dataclasses.field(default_factory=set)
    left_out: list = dataclasses.field(default_factory=list)
    """Names of the files that are no pictures."""


def make_shards(pictures, out, shards=None, overwrite=False):
    """Writes TFRecord shards and `classes.txt`; the head of this file says what is in them.

    Args:
        pictures: Folder with a folder per split, which has a folder per class.
        out: Folder for the result.
        shards: Number of shards of each split; such that one has about 150 MB if `None`.
        overwrite: Whether to replace the shards in `out`.

    Returns:
        A list of `Split`s.

    Raises:
        ValueError: A folder is empty or not of this form; `out` has shards already.
        tf.errors.OpError: Something cannot be read or written.
    """
    from tensorflow.io import gfile

    pictures, out = str(pictures).rstrip("/"), str(out).rstrip("/")
    _check_out(pictures, out, overwrite)
    classes, files = _find(pictures)
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
        splits = [_write(pictures, scratch, name, files[name], shards, pool) for name in files]
    _put_in_place(scratch, out)
    return splits


def _check_out(pictures, out, overwrite):
    from tensorflow.io import gfile

    if f"{out}/".startswith(f"{pictures}/"):
        raise ValueError(f"`out` must not be in `pictures`: choose another. Received: {out}")
    if gfile.exists(out) and not gfile.isdir(out):
        raise ValueError(f"`out` must be a folder. Received the file: {out}")
    names = [name.rstrip("/") for name in gfile.listdir(out)] if gfile.exists(out) else []
    was_cut_short = _SCRATCH in names and "classes.txt" not in names
    if any(map(_RESULT.fullmatch, names)) and not (overwrite or was_cut_short):
        raise ValueError(
            "`out` must be without shards: choose another folder or pass --overwrite. "
            f"Received: {out}"
        )


def _find(pictures):
    """Returns the class names, and for each split `(label, name)` of every file, sorted."""
    folders = _folders(pictures)
    splits = {SPLITS.get(folder): folder for folder in folders}
    if "train" not in splits or None in splits or len(splits) < len(folders):
        raise ValueError(
            "`pictures` must hold a folder train and may hold one validation (or val) and one "
            f"test, but no others. Received: {', '.join(folders) or 'no folders'} in {pictures}"
        )
    labels = {name: label for label, name in enumerate(_folders(f"{pictures}/train"))}
    files = {}
    for split in sorted(splits, key=list(SPLITS.values()).index):
        folder = f"{pictures}/{splits[split]}"
        classes = _folders(folder)
        lacking = sorted(set(classes) - set(labels))
        if not classes or lacking:
            raise ValueError(
                "`pictures` must have in each split one folder per class, of the classes in "
                f"train. Received: {folder} with {' and '.join(lacking) or 'no folders'}"
            )
        lists = [(name, _files(f"{folder}/{name}")) for name in classes]
        for name, paths in lists:
            if not paths:
                raise ValueError(
                    "`pictures` must have files for every class: add some or remove the folder. "
                    f"Received the empty folder: {folder}/{name}"
                )
        cut = len(pictures) + 1
        files[split] = [(labels[name], path[cut:]) for name, paths in lists for path in paths]
    return list(labels), files


def _folders(path):
    from tensorflow.io import gfile

    _, names, _ = next(gfile.walk(path), (path, [], []))
    return sorted(name.rstrip("/") for name in names if not name.startswith("."))


def _files(folder):
    from tensorflow.io import gfile

    names = [
        f"{root.rstrip('/')}/{name}"[len(folder) :]
        for root, _, names in gfile.walk(folder)
        for name in names
    ]
    return [folder + name for name in sorted(names) if "/." not in name]


def _usual_shards(pictures, files, pool):
    from tensorflow.io import gfile

    chosen = np.random.default_rng(SEED).permutation(len(files))[:_SAMPLE]
    paths = [f"{pictures}/{files[index][1]}" for index in chosen]
    mean = np.mean([stat.length for stat in pool.map(gfile.stat, paths)])
    return int(np.clip(round(mean * len(files) / SHARD_BYTES), 1, len(files)))


def _write(pictures, folder, name, files, shards, pool):
    """Writes all shards of a split into `folder`; returns its `Split`."""
    import tensorflow as tf
    from tqdm import tqdm

    from keras_mixers.data.folders import is_image

    split = Split(name, shards or _usual_shards(pictures, files, pool))
    order = np.random.default_rng(SEED).permutation(len(files))
    with tqdm(total=len(files), desc=name, unit=" files") as bar:
        for shard in range(split.shards):
            path = f"{folder}/{name}-{shard:05d}-of-{split.shards:05d}.tfrecord"
            chosen = [files[index] for index in order[shard :: split.shards]]
            with tf.io.TFRecordWriter(path) as writer:
                for label, file, image in _read(pictures, chosen, pool):
                    bar.update()
                    if not is_image(image):
                        split.left_out.append(file)
                        continue
                    writer.write(_example(image, label, file))
                    split.pictures += 1
                    split.size += len(image)
                    split.labels.add(label)
    if not split.pictures:
        raise ValueError(
            f"`pictures` must hold JPEG or PNG files. Received for {name} only files of other "
            f"kinds, such as: {split.left_out[0]}"
        )
    return split


def _read(pictures, files, pool):
    """Yields `(label, name, bytes)` in order, with many files being read at a time."""
    from tensorflow.io import gfile

    def read(file):
        with gfile.GFile(f"{pictures}/{file[1]}", "rb") as opened:
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
    from tensorflow.io import gfile

    for name in sorted(filter(_RESULT.fullmatch, gfile.listdir(out))):  # classes.txt goes first...
        gfile.remove(f"{out}/{name}")
    for name in sorted(gfile.listdir(scratch), reverse=True):  # ... and comes last.
        gfile.rename(f"{scratch}/{name}", f"{out}/{name}")
    gfile.rmtree(scratch)


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="keras-mixers make-shards",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pictures", help="folder of pictures")
    parser.add_argument("out", help="folder for the shards")
    parser.add_argument(
        "--shards",
        type=int,
        help="number of shards of each split (default: such that one has about 150 MB)",
        metavar="N",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the shards in OUT")
    args = parser.parse_args(argv)
    if args.shards is not None and not 1 <= args.shards <= 99_999:
        parser.error(f"argument --shards: must be from 1 to 99999. Received: {args.shards}")
    cli.prepare(parser, "recipes", ("tabulate", "tqdm"))
    return parser, args


def _print(splits):
    """Prints what was written; returns whether too many files were left out."""
    from tabulate import tabulate

    rows = [
        (split.name, split.pictures, len(split.labels), split.shards, f"{split.size / 1e6:.1f}")
        for split in splits
    ]
    print(tabulate(rows, ("split", "pictures", "classes", "shards", "MB"), "github"))
    left_out = [name for split in splits for name in split.left_out]
    files = len(left_out) + sum(split.pictures for split in splits)
    too_many = len(left_out) > MAX_LEFT_OUT * files
    if left_out:
        print(
            f"{len(left_out)} of {files} files{', more than 0.1 %,' if too_many else ''} are "
            "neither JPEG nor PNG by their first bytes and were left out: "
            f"{', '.join(left_out[:10])}{', ...' if len(left_out) > 10 else ''}"
        )
    return too_many


def main(argv=None):
    parser, args = _parse(argv)
    import tensorflow as tf

    try:
        splits = make_shards(args.pictures, args.out, args.shards, args.overwrite)
    except UnicodeError as error:
        parser.error(f"`pictures` must have file names in UTF-8. Received: {error.object!r}")
    except (ValueError, tf.errors.OpError) as error:
        parser.error(next(iter(str(error).splitlines()), type(error).__name__))
    return 1 if _print(splits) else 0
