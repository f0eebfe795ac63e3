"""Images in folders, one per class."""

import concurrent.futures
import dataclasses
import functools
import logging

import numpy as np
import tensorflow as tf

from keras_mixers.data import layout
from keras_mixers.data.reading import multi_hot, say_once
from keras_mixers.errors import UsageError

_log = logging.getLogger("keras_mixers")


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """Image files, with their labels."""

    classes: tuple[str, ...]
    paths: np.ndarray
    """Strings."""
    labels: np.ndarray
    """int64, or of several labels an image: tuples."""

    def __len__(self):
        return len(self.paths)

    @property
    def multi_label(self):
        """Whether an image has several labels, or none."""
        return self.labels.dtype == object

    def read(self, index):
        """Returns an image's bytes and label as tensors; works inside `Dataset.map`.

        The label is an int64; of several it is float32 `(classes,)`, 1 for each.
        """
        if not self.multi_label:
            paths, labels = self._tensors
            return tf.io.read_file(paths[index]), labels[index]
        paths, labels, ends = self._tensors
        mine = labels[ends[index] : ends[index + 1]]
        return tf.io.read_file(paths[index]), multi_hot(mine, len(self.classes))

    def name(self, index):
        return str(self.paths[index])

    @functools.cached_property
    def _tensors(self):
        if not self.multi_label:
            return constants(self.paths, self.labels)
        labels = np.array([label for each in self.labels for label in each], "int64")
        ends = np.cumsum([0, *map(len, self.labels)])
        return constants(self.paths, labels, ends)


def with_labels(source, classes, labels):
    """Returns a `FolderSource` with several labels an image, tuples of numbers of classes."""
    return dataclasses.replace(
        source, classes=classes, labels=np.fromiter(labels, object, len(source))
    )


def open_folder(folder, split, multi_label=False):
    """Returns the images of a split of a folder, as a `FolderSource`.

    Args:
        folder: Its path.
        split: Name of the split.
        multi_label: Whether images have several labels: here, that of their folder.

    Raises:
        UsageError: The folder is not laid out as such, or a class has no image to train on.
    """
    found = layout.find(folder)
    top = _split_folder(found, split)
    if top == found.splits.get("train", top):  # Once for a training.
        for note in found.notes:
            _log.warning("%s", note)
    trained = layout.classes(found.splits.get("train", top))
    there = trained if top == found.splits.get("train") else layout.classes(top)
    classes = tuple(trained)
    unknown = sorted(set(there) - set(classes))
    if unknown:
        raise UsageError(
            f"{top} must hold the classes of {found.splits['train']} only; remove these folders, "
            f"or put images of theirs there too: {', '.join(unknown[:5])}"
        )
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        by_class = list(pool.map(lambda name: layout.images_in(there.get(name, [])), classes))
    paths = [paths for paths, _ in by_class]
    _report(top, paths, [left_out for _, left_out in by_class])
    _check_classes(top, top == found.splits.get("train"), classes, paths)
    is_all = top == found.splits.get("train") and "validation" not in found.splits
    source = in_proportion(classes, paths, is_all)
    if multi_label:
        say_once(f"{found.folder}: each image has one label, that of its folder")
        source = with_labels(source, classes, ((label,) for label in source.labels.tolist()))
    return source


def in_proportion(classes, paths, in_parts):
    """Returns a `FolderSource` of the `paths` of each class, shuffled once and for all.

    Where one part is trained on and another validated on (`in_parts`), each has its share of every
    class.
    """
    labels = np.repeat(np.arange(len(paths)), list(map(len, paths)))
    everything = [path for of_class in paths for path in of_class]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(everything))
    if in_parts:
        order = np.argsort(np.concatenate([_spread(len(of_class), rng) for of_class in paths]))
    shuffled = np.array(everything, object)[order]
    return FolderSource(classes, shuffled, labels[order].astype("int64"))


def _report(top, paths, left_out):
    together = {}
    for each in left_out:
        for kind, names in each.items():
            together.setdefault(kind, []).extend(names)
    if loose := layout.loose_images(top):
        together["images in no class's folder"] = loose
    layout.told(top, sum(map(len, paths)), together)


def _check_classes(top, is_train, classes, paths):
    """Raises a `UsageError` where classes have too few images."""
    empty = [name for name, of_class in zip(classes, paths, strict=True) if not of_class]
    if empty and is_train:
        raise UsageError(
            f"Every class in {top} must have an image; put some there or remove these folders: "
            f"{', '.join(empty[:5])}"
        )
    if len(empty) == len(classes):
        raise UsageError(
            f"{top} must hold one folder per class; it has no image in them: put some into "
            f"{top}/<class>/."
        )


def _spread(count, rng):
    """Returns places from 0 to 1 for the images of a class, so that any part has its share.

    The only one of a class comes first: it is trained on.
    """
    places = (rng.permutation(count) + rng.random(count)) / count
    return places if count > 1 else np.zeros(count)


def _split_folder(found, split):
    name = layout.split_of(split) or split
    if name in found.splits:
        return found.splits[name]
    there = layout.folders(found.folder)
    if found.has_splits and split in there:
        return f"{found.folder}/{split}"
    raise UsageError(
        f"{found.folder} must hold a folder {name}: make it, or choose another split, such as a "
        f"part of the training images, train[80%:]. Received a folder with: {', '.join(there[:10])}"
    )


def constants(*arrays):
    """Tensors outside of any graph: a graph that reads them does not hold a copy."""
    with tf.init_scope():
        return tuple(tf.constant(array) for array in arrays)
