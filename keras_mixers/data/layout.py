"""How a folder of images is laid out: its splits, their classes, and what is no image of theirs."""

import collections
import dataclasses
import logging
import os
import re
import unicodedata

import tensorflow as tf

from keras_mixers import files
from keras_mixers.errors import UsageError, some
from keras_mixers.preprocessing import image_formats

SPLITS = ("train", "validation", "test")

_ALIASES = {
    "train": {"train", "training", "trn"},
    "validation": {"validation", "valid", "val", "dev", "development", "eval", "evaluation"},
    "test": {"test", "testing", "tst", "holdout"},
}
_AROUND = re.compile(r"(set|data|dataset|split|images|imgs|labels|folder|\d+)$")
# Of other programs: of macOS, Synology, Windows, Linux, Python.
_OF_OTHERS = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
_OF_OTHERS |= {"__pycache__"}
_INSIDE = {"images", "imgs", "data"}
_NAMED = 5
_log = logging.getLogger("keras_mixers")


@dataclasses.dataclass
class Layout:
    """Where the splits of a folder are."""

    folder: str
    """What holds the splits, or the classes where there are no splits."""
    splits: dict[str, str]
    """Folders of the classes, by the name of the split; without splits, they are "train"."""
    has_splits: bool
    notes: tuple[str, ...] = ()
    """What a person should be told of it."""


def split_of(name):
    """Returns which of `SPLITS` a folder's name means, in any case: Training, val, test_set, ..."""
    word, before = re.sub(r"[^a-z0-9]", "", name.lower()), None
    while word != before:
        found = next((split for split, names in _ALIASES.items() if word in names), None)
        if found:
            return found
        before, word = word, _AROUND.sub("", word)
    return None


def find(folder):
    """Returns the `Layout` of a folder.

    Folders of splits have the usual names and hold folders; what has such a name and holds images
    is a class, such as that of trains. One folder around all of it is looked into.

    Raises:
        UsageError: It is laid out in none of these ways, or in two at once.
    """
    there = folders(folder)
    if not there:
        raise UsageError(
            f"{folder} must hold a folder of images per class, or folders train and validation "
            "of such folders; it has no folder: put the images into one per class."
        )
    named = collections.defaultdict(list)
    for name in there:
        if split := split_of(name):
            named[split].append(name)
    splits = {split: _with_folders(folder, names) for split, names in named.items()}
    splits = {split: names for split, names in splits.items() if names}
    if len(there) == 1 and not named and (below := folders(f"{folder}/{there[0]}")):
        if not all(map(split_of, below)) and not _with_folders(f"{folder}/{there[0]}", below):
            notes = (f"{folder}: the classes are the folders in {there[0]}",)
            return dataclasses.replace(find(f"{folder}/{there[0]}"), notes=notes)
        return find(f"{folder}/{there[0]}")
    for split, names in splits.items():
        if len(names) > 1:
            raise UsageError(
                f"{folder} must hold one folder for {split}: rename or move the others. "
                f"Received: {', '.join(names)}"
            )
    others = [name for name in there if [name] not in splits.values()]
    if "train" in splits or (splits and not others):
        notes = ()
        if others:
            what = "what is no split with a folder per class"
            notes = (f"{folder}: left out {what}: {some(others)}",)
        tops = {
            split: _inside(f"{folder}/{splits[split][0]}", split)
            for split in SPLITS
            if split in splits
        }
        return Layout(folder, tops, has_splits=True, notes=notes)
    if splits:
        (name,) = next(iter(splits.values()))
        raise UsageError(
            f"{folder} must hold either splits or classes: {name} holds folders, as a split does, "
            f"and there is no train beside it, but: {some(others)}. Move or rename one of them."
        )
    if len(named) > 1 or sum(map(len, named.values())) == len(there):
        names = [name for each in named.values() for name in each]
        raise UsageError(
            f"{folder} must hold a folder of images per class in each split; there is none in "
            f"{', '.join(names)}: put the images into such folders, or give a table of labels."
        )
    return Layout(folder, {"train": folder}, has_splits=False)


def classes(top):
    """Returns the names of the classes in a split's folder, with the folders of each.

    Names that differ in their Unicode normal form only are the same.

    Raises:
        UsageError: Splits are where classes should be.
    """
    found = collections.defaultdict(list)
    for name in folders(top):
        path = f"{top}/{name}"
        if split_of(name) and folders(path):
            raise UsageError(
                f"{top} must hold a folder of images per class; {name} there is a split of its "
                "own: move it beside, or rename it."
            )
        found[unicodedata.normalize("NFC", name)].append(path)
    first = next(iter(found.values()), [""])[0]
    below = folders(first) if first else []
    if below and len({split_of(name) for name in below} - {None}) == len(below) > 1:
        raise UsageError(
            f"{top} must hold folders of splits, which hold the classes; {first} is a class that "
            f"holds splits ({', '.join(below)}): put the classes into the splits."
        )
    return dict(sorted(found.items()))


def folders(folder):
    """Returns the sorted names of the folders in a folder, without hidden ones."""
    if not files.is_remote(folder):
        if not os.path.isdir(folder):
            return []
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if _is_folder(entry)]
    else:
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(folder)]
        names = [name for name in names if tf.io.gfile.isdir(f"{folder}/{name}")]
    return sorted(_utf8(name, folder) for name in names if not _is_hidden(name))


def images_in(folder_list):
    """Returns the sorted paths of the images in folders and below, and what is left out.

    What has the name of an image is one, and unreadable where it is none: it is named and counted,
    not passed over. Of other files, the first bytes decide. Links are followed once.

    Returns:
        Paths, in the order of the folders' and then of the files' names, on which the parts of a
        split depend; and a dict of the other files' paths, by what they are.
    """
    paths, left_out, seen = [], collections.defaultdict(list), set()
    for folder in folder_list:
        walk = _remote_files if files.is_remote(folder) else _local_files
        for parent, name in sorted(walk(folder, left_out, seen)):
            path = f"{parent}/{name}"
            kind = image_formats.by_name(name) or image_formats.of(_head(path))
            if why := _why_left_out(kind, name):
                left_out[why].append(path)
            else:
                paths.append(path)
    return paths, left_out


def told(top, images, left_out):
    """Logs a line that counts the files that are left out, by kind."""
    count = sum(map(len, left_out.values()))
    if not count:
        return
    kinds = sorted(left_out.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    shown = ", ".join(f"{len(paths):,} {kind}" for kind, paths in kinds[: 2 * _NAMED])
    more = ", ..." if len(kinds) > 2 * _NAMED else ""
    _log.warning("%s: left out %d of %d files: %s%s", top, count, images + count, shown, more)


def loose_images(top):
    """Returns the paths of images in a split's folder itself, which belong to no class."""
    if files.is_remote(top):
        return []
    with os.scandir(top) as entries:
        names = [e.name for e in entries if not _is_hidden(e.name) and _is_file(e)]
    return [f"{top}/{name}" for name in names if image_formats.by_name(name)]


def _why_left_out(kind, name):
    if kind is None:
        ending = os.path.splitext(name)[1].lower()
        return ending or "without an ending"
    if kind not in ("JPEG", "PNG") and (package := image_formats.lacks(kind)):
        return f'{kind}, which needs {package}: pip install "keras_mixers[images]"'
    return None


def _inside(top, split):
    """Returns the folder of the classes, of a split with another folder around them."""
    below = folders(top)
    if len(below) == 1 and (split_of(below[0]) == split or below[0].lower() in _INSIDE):
        inner = f"{top}/{below[0]}"
        return _inside(inner, split) if folders(inner) else top
    return top


def _with_folders(folder, names):
    return [name for name in names if folders(f"{folder}/{name}")]


def _local_files(folder, left_out, seen):
    """Yields the folder and the name of each regular file."""
    try:
        stat = os.stat(folder)
    except FileNotFoundError:
        return
    if (stat.st_dev, stat.st_ino) in seen:
        left_out["folders linked a second time"].append(folder)
        return
    seen.add((stat.st_dev, stat.st_ino))
    with os.scandir(folder) as entries:
        entries = [entry for entry in entries if not _is_hidden(entry.name)]
    for entry in entries:
        if _is_folder(entry):
            yield from _local_files(f"{folder}/{entry.name}", left_out, seen)
        elif _is_file(entry):
            yield folder, _utf8(entry.name, folder)
        elif entry.is_symlink():
            left_out["links to nothing"].append(f"{folder}/{entry.name}")
        else:
            left_out["pipes, sockets or devices"].append(f"{folder}/{entry.name}")


def _remote_files(folder, left_out, seen):
    for parent, _, names in tf.io.gfile.walk(folder):
        hidden = any(map(_is_hidden, parent[len(folder) :].split("/")))
        yield from (
            (parent.rstrip("/"), name) for name in names if not (hidden or _is_hidden(name))
        )


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # A link that leads to itself.
        return False


def _is_file(entry):
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_hidden(name):
    return name.startswith(".") or name in _OF_OTHERS


def _head(path):
    if not files.is_remote(path):
        with open(path, "rb") as file:
            return file.read(image_formats.HEAD)
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read(image_formats.HEAD)


def _utf8(name, folder):
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{folder} must hold names in UTF-8 only: rename what is called {os.fsencode(name)!r} "
            "there."
        ) from None
    return name
