"""TFRecord files as people have them: their splits, whether they are whole, their classes."""

import concurrent.futures
import functools
import gzip
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil

import tensorflow as tf

from keras_mixers import files
from keras_mixers.data import layout
from keras_mixers.errors import UsageError

INDEX = "counts.json"
"""Number of records of each file, as `keras-mixers make-shards` writes it beside them."""

_FILE = re.compile(r".*(\.(tfrecords?|tfrec|records?)(-\d+-of-\d+)?|-\d+-of-\d+)(\.gz)?")
_OF = re.compile(r"-of-(\d+)(\.\w+)*$")
_UNPACKED = pathlib.Path("~/.cache/keras_mixers/unpacked")
_log = logging.getLogger("keras_mixers")


def splits(folder):
    """Returns the record files in a folder, or in folders of splits in it, by split; {} if none.

    What names no split is "train".
    """
    found = {}
    tops = [(None, folder)]
    tops += [(layout.split_of(name), f"{folder}/{name}") for name in layout.folders(folder)]
    for split, top in tops:
        if top != folder and split is None:
            continue
        for name in sorted(name.rstrip("/") for name in tf.io.gfile.listdir(top)):
            if _FILE.fullmatch(name) and not name.startswith("."):
                found.setdefault(split or _split_in(name), []).append(f"{top}/{name}")
    return {split: found[split] for split in (*layout.SPLITS, *found) if split in found}


def of_split(folder, split):
    """Returns the paths of the record files of a split, unpacked where they are gzipped.

    Raises:
        UsageError: There are none, or some are missing.
    """
    there = splits(folder)
    paths = there.get(layout.split_of(split) or split)
    if not paths:
        raise UsageError(
            f"{folder} must hold record files of the split {split}, such as "
            f"{split}-00000-of-00008.tfrecord; it has those of {', '.join(there)}: choose one of "
            "these, or a part of one, such as train[80%:]."
        )
    if numbered := _OF.search(paths[0]):
        listed = int(numbered[1])
        if len(paths) != listed:
            raise UsageError(
                f"{folder} must hold all {listed} shards of {split}; it has {len(paths)}: copy "
                "the others as well, or make them again."
            )
    return [_unpacked(path) for path in paths]


def check_counts(folder, shards, counts):
    """Raises a `UsageError` where a shard has not as many records as the index beside it says."""
    if not tf.io.gfile.exists(f"{folder}/{INDEX}"):
        return
    try:
        with tf.io.gfile.GFile(f"{folder}/{INDEX}") as file:
            index = json.loads(file.read())
        expected = [index.get(os.path.basename(path)) for path in shards]
    except (ValueError, AttributeError):
        raise UsageError(f"{folder}/{INDEX} cannot be read: make the shards again.") from None
    require_counts(shards, counts, expected)


def require_counts(shards, counts, expected):
    """Raises a `UsageError` where a number of records is not the expected one, if that is known."""
    for path, count, known in zip(shards, counts, expected, strict=True):
        if known is not None and count != known:
            raise UsageError(
                f"{path} must hold {known:,} records; it holds {count:,}: copy or make it again."
            )


def class_names(folder):
    """Returns the lines of classes.txt, or None where there is none.

    Raises:
        UsageError: A line is empty.
    """
    try:
        with tf.io.gfile.GFile(f"{folder}/classes.txt") as file:
            # Not splitlines(), which knows more ends of lines than a name has to avoid.
            lines = file.read().removesuffix("\n").split("\n")
            classes = tuple(line.removesuffix("\r") for line in lines)
    except tf.errors.NotFoundError:
        return None
    if not all(classes):
        raise UsageError(
            f"{folder}/classes.txt must hold a class name a line; line {classes.index('') + 1} is "
            "empty: write the name, or make the shards again by keras-mixers make-shards."
        )
    return classes


def _split_in(name):
    found = [split for word in re.findall("[A-Za-z]+", name) if (split := layout.split_of(word))]
    if found:
        return found[0]
    return re.split(r"[-.]", name)[0] if _OF.search(name) else "train"


@functools.cache
def _unpacked(path):
    """Returns a record file that is not gzipped: itself, or what is unpacked of it, once."""
    with tf.io.gfile.GFile(path, "rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return path
    stat = tf.io.gfile.stat(path)
    name = hashlib.sha256(f"{path} {stat.length} {stat.mtime_nsec}".encode()).hexdigest()[:16]
    target = _UNPACKED.expanduser() / f"{name}-{os.path.basename(path).removesuffix('.gz')}"
    if not target.exists():
        _log.warning("%s is gzipped: unpacked to %s, once", path, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(f".{os.getpid()}.part")
        try:
            with tf.io.gfile.GFile(path, "rb") as file, open(part, "wb") as out:
                shutil.copyfileobj(gzip.GzipFile(fileobj=file), out)
        except (EOFError, OSError) as error:
            part.unlink(missing_ok=True)
            raise UsageError(f"{path} cannot be unpacked: {error}") from None
        part.replace(target)
    return str(target)


def pool(path):
    """Returns threads to read many files with, more of a bucket, which answers late."""
    return concurrent.futures.ThreadPoolExecutor(64 if files.is_remote(path) else 16)
