"""Images in TFRecord files: shards of our own, or what tensorflow-datasets has prepared."""

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

from keras_mixers import extras, files
from keras_mixers.data.folders import constants
from keras_mixers.errors import UsageError, first_line

_CACHE = pathlib.Path("~/.cache/keras_mixers/records")
_TFDS = ("tensorflow_datasets",)


@dataclasses.dataclass(frozen=True)
class RecordSource:
    """Encoded images in TFRecord files, found by their place in the file."""

    classes: tuple[str, ...]
    files: np.ndarray
    """Strings."""
    places: np.ndarray
    """int64 of shape `(images, 2)`: file and first byte in it."""
    image_key: str = "image"
    label_key: str = "label"

    def __len__(self):
        return len(self.places)

    def read(self, index):
        """Returns an image's bytes and label as tensors; works inside `Dataset.map`."""
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
        return constants(self.files, self.places)


def open_shards(folder, split):
    """Returns the images of a split of shards, as `keras-mixers make-shards` writes them."""
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
    return _records(shards, _class_names(folder), "image", "label")


def _class_names(folder):
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
    return classes


def prepared(name, data_dir):
    reason = extras.need("a name", _TFDS)
    if not reason:
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
            if builder.is_prepared():
                return builder
        except Exception as error:  # tfds has errors of many kinds for a name it does not know.
            reason = f"tensorflow-datasets says: {first_line(error)}"
    raise UsageError(
        f"No data: --data must be a folder, or the name of a data set that tensorflow-datasets has "
        f"prepared in --data-dir {data_dir}. Received: {name}" + (f" ({reason})" if reason else "")
    )


def prepared_folder(folder):
    extras.require("a folder with a dataset_info.json", _TFDS)
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # As above.
        raise UsageError(
            f"{folder} has a dataset_info.json that tensorflow-datasets cannot read: {error}"
        ) from None


def open_tfds(builder, split):
    import tensorflow_datasets as tfds

    info = builder.info
    features = dict(info.features)
    images = [key for key, value in features.items() if isinstance(value, tfds.features.Image)]
    labels = [key for key, value in features.items() if isinstance(value, tfds.features.ClassLabel)]
    if len(images) != 1 or len(labels) != 1:
        raise UsageError(
            "--data must have one image and one class per example: choose another set. "
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
            f"{shards[0]} and the shards beside it must hold images; they are empty: make them "
            "again."
        )
    return RecordSource(classes, np.array(shards, object), places, image_key, label_key)


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
