"""Where pictures are: a folder per class, TFRecord shards, a prepared tensorflow-datasets folder.

A source knows how many pictures there are and reads the n-th one by itself, so that any step can
be the first.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
import io
import pathlib
import re
import struct

import numpy as np
import tensorflow as tf

from keras_mixers import files
from keras_mixers.errors import UsageError, first_line

_CACHE = pathlib.Path("~/.cache/keras_mixers/records")
_PICTURES = (".jpg", ".jpeg", ".png")
_SPLIT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<start>\d*%?):(?P<stop>\d*%?)\])?")


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """Picture files, one folder per class."""

    classes: tuple[str, ...]
    paths: np.ndarray
    """Strings."""
    labels: np.ndarray
    """int64."""

    def __len__(self):
        return len(self.paths)

    def read(self, index):
        """Returns a picture's bytes and label as tensors; works inside `Dataset.map`."""
        paths, labels = self._tensors
        return tf.io.read_file(paths[index]), labels[index]

    def name(self, index):
        return str(self.paths[index])

    @functools.cached_property
    def _tensors(self):
        return _constants(self.paths, self.labels)


@dataclasses.dataclass(frozen=True)
class RecordSource:
    """Encoded pictures in TFRecord files, found by their place in the file."""

    classes: tuple[str, ...]
    files: np.ndarray
    """Strings."""
    places: np.ndarray
    """int64 of shape `(pictures, 2)`: file and first byte in it."""
    image_key: str = "image"
    label_key: str = "label"

    def __len__(self):
        return len(self.places)

    def read(self, index):
        """Returns a picture's bytes and label as tensors; works inside `Dataset.map`."""
        files, places = self._tensors
        file, start = tf.unstack(places[index])
        # Seeks, which the public TFRecordDataset and FixedLengthRecordDataset do not.
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=[files[file]],
            compression_type="",
            buffer_size=tf.constant(0, tf.int64),
            byte_offsets=[start],
        )
        text = {"output_types": [tf.string], "output_shapes": [()]}
        one = tf.constant(1, tf.int64)
        first = tf.raw_ops.TakeDataset(input_dataset=records, count=one, **text)
        (record,) = tf.raw_ops.DatasetToSingleElement(dataset=first, **text)
        features = tf.io.parse_single_example(
            record,
            {
                self.image_key: tf.io.FixedLenFeature((), tf.string),
                self.label_key: tf.io.FixedLenFeature((), tf.int64),
            },
        )
        return features[self.image_key], features[self.label_key]

    def name(self, index):
        file, start = self.places[index]
        return f"{self.files[file]}, at byte {start}"

    @functools.cached_property
    def _tensors(self):
        return _constants(self.files, self.places)


def _constants(*arrays):
    """Tensors outside of any graph: a graph that reads them does not hold a copy."""
    with tf.init_scope():
        return tuple(tf.constant(array) for array in arrays)


def open_source(data, data_dir, split):
    """Returns the pictures of a split.

    Args:
        data: A folder with one folder per split that has one folder per class, or with the latter
            alone, which are the split "train"; a folder of TFRecord shards as
            `keras-mixers make-shards` writes them; a folder that tensorflow-datasets has prepared;
            or the name of a data set that it has prepared in `data_dir`.
        data_dir: Folder or bucket.
        split: Such as `"train"`, `"train[:99%]"` or `"train[1000:]"`.

    Raises:
        UsageError: There is no such data set, no such split, or it holds no picture.
    """
    match = _SPLIT.fullmatch(split)
    if match is None:
        raise UsageError(f"A split must be written as train or train[:99%]. Received: {split}")
    name = match["name"]
    folder = _expanded(data)
    if not tf.io.gfile.isdir(folder):
        source = _from_tfds(_prepared(data, data_dir), name)
    elif tf.io.gfile.exists(f"{folder}/dataset_info.json"):
        source = _from_tfds(_prepared_folder(folder), name)
    elif tf.io.gfile.glob(f"{folder}/*.tfrecord"):
        source = _from_shards(folder, name)
    else:
        source = _from_folder_in_utf8(folder, name)
    if match["start"] is None:
        return source
    return _part(source, match["start"], match["stop"], split)


def _from_folder_in_utf8(folder, split):
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
            f"{train} must hold one folder of pictures per class; it has no folder: put the "
            f"pictures into {train}/<class>/."
        )
    top = _split_folder(folder, split)
    unknown = sorted(set(_folders(top)) - set(classes))
    if unknown:
        raise UsageError(
            f"{top} must hold the classes of {train} only; remove these folders, or put pictures "
            f"of theirs there too: {', '.join(unknown[:5])}"
        )
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda name: _pictures_under(f"{top}/{name}"), classes))
    empty = [name for name, paths in zip(classes, found, strict=True) if not paths]
    if empty and split == "train":
        raise UsageError(
            f"Every class in {top} must have a picture (JPEG or PNG); put some there or remove "
            f"these folders: {', '.join(empty[:5])}"
        )
    if len(empty) == len(classes):
        raise UsageError(
            f"{top} must hold one folder per class; it has no picture (JPEG or PNG) in them: put "
            f"some into {top}/<class>/."
        )
    paths = [path for class_paths in found for path in class_paths]
    labels = np.repeat(np.arange(len(classes)), [len(class_paths) for class_paths in found])
    rng = np.random.default_rng(0)  # Shuffled once and for all, so that a part has all classes,
    order = rng.permutation(len(paths))
    if split == "train" and lacks_validation(folder):  # in proportion, where one is to validate on.
        order = np.argsort(np.concatenate([_spread(len(paths), rng) for paths in found]))
    return FolderSource(classes, np.array(paths, object)[order], labels[order].astype("int64"))


def _spread(count, rng):
    """Returns places from 0 to 1 for the pictures of a class, so that any part has its share."""
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
            f"{folder} must hold a folder of pictures per class, or folders train and validation "
            "of such folders; it has no folder: put the pictures into one per class."
        )
    found = ", ".join(sorted(there)[:10])
    raise UsageError(
        f"{folder} must hold a folder {names[0]}: make it, or choose another split, such as a part "
        f"of the training pictures, train[80%:]. Received a folder with: {found}"
    )


def has_classes_alone(data):
    """Returns whether `data` is a folder of pictures with one folder per class, without splits."""
    there = _folders_of_pictures(data)
    return bool(there) and not there & {"train", "validation", "val", "test"}


def lacks_validation(data):
    """Returns whether `data` is a folder of pictures with no split but for training."""
    there = _folders_of_pictures(data)
    return has_classes_alone(data) or ("train" in there and not there & {"validation", "val"})


def _folders_of_pictures(data):
    """Returns the names of the folders in a folder of pictures; none of data of another kind."""
    folder = _expanded(data)
    if not tf.io.gfile.isdir(folder) or tf.io.gfile.exists(f"{folder}/dataset_info.json"):
        return set()
    return set() if tf.io.gfile.glob(f"{folder}/*.tfrecord") else set(_folders(folder))


def _folders(folder):
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(folder))
    names = (name for name in names if not name.startswith("."))
    return [name for name in names if tf.io.gfile.isdir(f"{folder}/{name}")]


def _pictures_under(folder):
    if not tf.io.gfile.isdir(folder):
        return []
    return [
        f"{parent}/{name}"
        for parent, _, names in sorted(tf.io.gfile.walk(folder))
        for name in sorted(names)
        if name.lower().endswith(_PICTURES) and not name.startswith(".")
    ]


def _from_shards(folder, split):
    pattern = f"{folder}/{split}-*.tfrecord"
    shards = sorted(tf.io.gfile.glob(pattern))
    if not shards:
        raise UsageError(
            f"{folder} must hold shards of the split {split}, {pattern}: make them by "
            "keras-mixers make-shards, or choose a split that is there."
        )
    numbered = re.search(r"-of-(\d+)\.tfrecord$", shards[0])
    if numbered is None:
        raise UsageError(
            f"Shards must be named like {split}-00000-of-00008.tfrecord, as keras-mixers "
            f"make-shards names them: rename them. Received: {shards[0]}"
        )
    if len(shards) != (listed := int(numbered[1])):
        raise UsageError(
            f"{folder} must hold all {listed} shards of {split}; it has {len(shards)}: copy the "
            "others as well, or make them again by keras-mixers make-shards."
        )
    try:
        with tf.io.gfile.GFile(f"{folder}/classes.txt") as file:
            # Not splitlines(), which knows more ends of lines than a name has to avoid.
            lines = file.read().removesuffix("\n").split("\n")
            classes = tuple(line.removesuffix("\r") for line in lines)
    except tf.errors.NotFoundError:
        raise UsageError(
            f"{folder} must hold classes.txt, a class name a line, which keras-mixers make-shards "
            "writes beside the shards: copy it as well."
        ) from None
    if not all(classes):
        raise UsageError(
            f"{folder}/classes.txt must hold a class name a line; line {classes.index('') + 1} is "
            "empty: write the name, or make the shards again by keras-mixers make-shards."
        )
    return _records(shards, classes, "image", "label")


def _prepared(name, data_dir):
    import tensorflow_datasets as tfds

    data_dir = _expanded(data_dir)
    reason = ""
    try:
        builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
        if builder.is_prepared():
            return builder
    except Exception as error:  # tfds has errors of many kinds for a name that it does not know.
        reason = f" (tensorflow-datasets says: {first_line(error)})"
    raise UsageError(
        f"No data: --data must be a folder, or the name of a data set that tensorflow-datasets has "
        f"prepared in --data-dir {data_dir}. Received: {name}{reason}"
    )


def _prepared_folder(folder):
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # As above.
        raise UsageError(
            f"{folder} has a dataset_info.json that tensorflow-datasets cannot read: {error}"
        ) from None


def _from_tfds(builder, split):
    import tensorflow_datasets as tfds

    info = builder.info
    features = dict(info.features)
    images = [key for key, value in features.items() if isinstance(value, tfds.features.Image)]
    labels = [key for key, value in features.items() if isinstance(value, tfds.features.ClassLabel)]
    if len(images) != 1 or len(labels) != 1:
        raise UsageError(
            "--data must have one picture and one class per example: choose another set. "
            f"Received: {info.name} with {', '.join(features)}"
        )
    if split not in info.splits:
        raise UsageError(
            f"{info.name} has no split {split}; choose one of: {', '.join(info.splits)}"
        )
    shards = [str(path) for path in info.splits[split].filepaths]
    if ".tfrecord" not in shards[0]:
        raise UsageError(
            f"{info.name} must be prepared as TFRecord files: prepare it again with "
            f"tensorflow-datasets' file_format tfrecord. Received: {shards[0]}"
        )
    return _records(shards, tuple(features[labels[0]].names), images[0], labels[0])


def _records(shards, classes, image_key, label_key):
    with concurrent.futures.ThreadPoolExecutor(64 if files.is_remote(shards[0]) else 16) as pool:
        scanned = list(pool.map(_scan_once, shards))
    places = np.concatenate(
        [
            np.stack([np.full_like(starts, number), starts], axis=1)
            for number, starts in enumerate(scanned)
        ]
    )
    if not len(places):
        raise UsageError(
            f"{shards[0]} and the shards beside it must hold pictures; they are empty: make them "
            "again."
        )
    return RecordSource(classes, np.array(shards, object), places, image_key, label_key)


def _expanded(path):
    return path if files.is_remote(path) else str(pathlib.Path(path).expanduser())


def _scan_once(path):
    """What `_scan` returns; of a file in a bucket, which it reads through, noted down."""
    if not files.is_remote(path):
        return _scan(path)
    stat = tf.io.gfile.stat(path)
    name = hashlib.sha256(f"{path} {stat.length} {stat.mtime_nsec}".encode()).hexdigest()
    noted = _CACHE.expanduser() / f"{name}.npy"
    if not noted.exists():
        noted.parent.mkdir(parents=True, exist_ok=True)
        starts = io.BytesIO()
        np.save(starts, _scan(path))
        files.write(noted, starts.getvalue())
    return np.load(noted, allow_pickle=False)


def _scan(path):
    """Returns the first byte of each record of a TFRecord file, as int64.

    Of a file on disk, only the 12 bytes at the head of each record are read: its length and a
    checksum of that.
    """
    starts, position = [], 0
    size = tf.io.gfile.stat(path).length
    remote = files.is_remote(path)
    with tf.io.gfile.GFile(path, "rb") if remote else open(path, "rb", buffering=0) as file:
        while position < size:
            file.seek(position)
            header = file.read(12)
            if len(header) < 12:
                break
            starts.append(position)
            position += 12 + struct.unpack("<Q", header[:8])[0] + 4
    if position != size:
        raise UsageError(f"{path} is not a whole TFRecord file: write it again.")
    return np.array(starts, "int64")


def _part(source, start, stop, split):
    first, last = (_place(text, len(source), end) for text, end in ((start, 0), (stop, 1)))
    if not 0 <= first < last <= len(source):
        raise UsageError(
            f"A split must hold a picture; of {len(source):,}, this one takes none that exist: "
            f"take a larger part. Received: {split}"
        )
    if isinstance(source, FolderSource):
        return dataclasses.replace(
            source, paths=source.paths[first:last], labels=source.labels[first:last]
        )
    return dataclasses.replace(source, places=source.places[first:last])


def _place(text, count, end):
    if not text:
        return end * count
    return round(int(text[:-1]) * count / 100) if text.endswith("%") else int(text)
