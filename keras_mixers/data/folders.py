"""Images in folders, one per class, and what an image is there."""

import concurrent.futures
import dataclasses
import functools

import numpy as np
import tensorflow as tf

from keras_mixers.errors import UsageError

_NAMES = (".jpg", ".jpeg", ".png")


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """Image files, one folder per class."""

    classes: tuple[str, ...]
    paths: np.ndarray
    """Strings."""
    labels: np.ndarray
    """int64."""

    def __len__(self):
        return len(self.paths)

    def read(self, index):
        """Returns an image's bytes and label as tensors; works inside `Dataset.map`."""
        paths, labels = self._tensors
        return tf.io.read_file(paths[index]), labels[index]

    def name(self, index):
        return str(self.paths[index])

    @functools.cached_property
    def _tensors(self):
        return constants(self.paths, self.labels)


def open_folder(folder, split):
    """Returns the images of a split of a folder, as a `FolderSource`.

    Raises:
        UsageError: The folder is not laid out as such, or a class has no image to train on.
    """
    try:
        return _from_folder(folder, split)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{folder} must hold names in UTF-8 only: rename what is called {error.object!r} there."
        ) from None


def _from_folder(folder, split):
    train = _split_folder(folder, "train")
    classes = tuple(sorted(_folders(train)))
    if not classes:
        raise UsageError(
            f"{train} must hold one folder of images per class; it has no folder: put the "
            f"images into {train}/<class>/."
        )
    top = _split_folder(folder, split)
    unknown = sorted(set(_folders(top)) - set(classes))
    if unknown:
        raise UsageError(
            f"{top} must hold the classes of {train} only; remove these folders, or put images "
            f"of theirs there too: {', '.join(unknown[:5])}"
        )
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda name: images_under(f"{top}/{name}"), classes))
    _check_classes(top, split, classes, found)
    paths = [path for class_paths in found for path in class_paths]
    labels = np.repeat(np.arange(len(classes)), [len(class_paths) for class_paths in found])
    rng = np.random.default_rng(0)  # Shuffled once and for all, so that a part has all classes,
    order = rng.permutation(len(paths))
    if split == "train" and lacks_validation(folder):  # in proportion, where one is to validate on.
        order = np.argsort(np.concatenate([_spread(len(paths), rng) for paths in found]))
    return FolderSource(classes, np.array(paths, object)[order], labels[order].astype("int64"))


def _check_classes(top, split, classes, found):
    """Raises a `UsageError` where classes have too few images, the paths in `found`."""
    empty = [name for name, paths in zip(classes, found, strict=True) if not paths]
    if empty and split == "train":
        raise UsageError(
            f"Every class in {top} must have an image (JPEG or PNG); put some there or remove "
            f"these folders: {', '.join(empty[:5])}"
        )
    if len(empty) == len(classes):
        raise UsageError(
            f"{top} must hold one folder per class; it has no image (JPEG or PNG) in them: put "
            f"some into {top}/<class>/."
        )


def _spread(count, rng):
    """Returns places from 0 to 1 for the images of a class, so that any part has its share."""
    return (rng.permutation(count) + rng.random(count)) / count


def _split_folder(folder, split):
    names = ("validation", "val") if split in ("validation", "val") else (split,)
    there = _folders(folder)
    for name in names:
        if name in there:
            return f"{folder}/{name}"
    if split == "train" and has_classes_alone(folder):
        return folder
    if not there:
        raise UsageError(
            f"{folder} must hold a folder of images per class, or folders train and validation "
            "of such folders; it has no folder: put the images into one per class."
        )
    found = ", ".join(sorted(there)[:10])
    raise UsageError(
        f"{folder} must hold a folder {names[0]}: make it, or choose another split, such as a part "
        f"of the training images, train[80%:]. Received a folder with: {found}"
    )


def has_classes_alone(folder):
    """Returns whether a folder has one folder per class, without splits."""
    there = set(_folders(folder))
    return bool(there) and not there & {"train", "validation", "val", "test"}


def lacks_validation(folder):
    """Returns whether a folder has no split but for training."""
    there = set(_folders(folder))
    return has_classes_alone(folder) or ("train" in there and not there & {"validation", "val"})


def _folders(folder):
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(folder))
    names = (name for name in names if not name.startswith("."))
    return [name for name in names if tf.io.gfile.isdir(f"{folder}/{name}")]


def is_image(data):
    """Returns whether the first bytes of a file are those of a JPEG or PNG file."""
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG"))


def images_under(folder):
    """Returns the paths of the images in a folder and the folders below it, without hidden ones.

    What is named .jpg, .jpeg or .png is an image, and unreadable where it is none: it is named and
    counted, not passed over. Of other files, the first bytes decide. The order is that of the
    folders' and then of the files' names; parts of a split, such as train[:80%], depend on it.
    """
    if not tf.io.gfile.isdir(folder):
        return []
    paths = [
        f"{parent}/{name}"
        for parent, _, names in sorted(tf.io.gfile.walk(folder))
        for name in sorted(names)
        if "/." not in f"{parent[len(folder) :]}/{name}"
    ]
    return [path for path in paths if path.lower().endswith(_NAMES) or is_image(_head(path))]


def _head(path):
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read(4)


def constants(*arrays):
    """Tensors outside of any graph: a graph that reads them does not hold a copy."""
    with tf.init_scope():
        return tuple(tf.constant(array) for array in arrays)
