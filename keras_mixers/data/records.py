"""Images in TFRecord files: of make-shards, of others, or prepared by tensorflow-datasets."""

import dataclasses
import functools
import hashlib
import io
import pathlib
import struct

import numpy as np
import tensorflow as tf

from keras_mixers import extras, files
from keras_mixers.data import array_records, record_contents, record_files
from keras_mixers.data.folders import constants
from keras_mixers.data.reading import say_once
from keras_mixers.errors import UsageError, first_line

_CACHE = pathlib.Path("~/.cache/keras_mixers/records")
_TFDS = ("tensorflow_datasets",)


@dataclasses.dataclass(frozen=True)
class RecordSource:
    """Encoded images in TFRecord files, found by their place in the file."""

    about: record_contents.Contents
    files: np.ndarray
    """Strings."""
    places: np.ndarray
    """int64 of shape `(images, 2)`: file and first byte in it."""

    def __len__(self):
        return len(self.places)

    @property
    def classes(self):
        """Names of the classes."""
        return self.about.classes

    @property
    def multi_label(self):
        """Whether an image has several labels, or none."""
        return self.about.multi_label

    def read(self, index):
        """Returns an image's bytes and label as `FolderSource.read` does."""
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
        return self.about.read(record)

    def name(self, index):
        file, start = self.places[index]
        return f"{self.files[file]}, at byte {start}"

    @functools.cached_property
    def _tensors(self):
        return constants(self.files, self.places)


def open_shards(folder, split, reading):
    """Returns the images of a split of TFRecord files, of `make-shards` or of others."""
    shards = record_files.of_split(folder, split)
    there = record_files.splits(folder)
    trained = record_files.of_split(folder, "train") if "train" in there else shards
    about = _contents(folder, tuple(trained), reading)
    return _records(shards, about, folder)


def _contents(folder, shards, reading):
    def read(most):
        """Yields records of all shards in turns, `most` of them."""
        each = -(-most // len(shards))
        for path in shards[:most]:
            yield from tf.data.TFRecordDataset(path).take(each).as_numpy_iterator()

    try:
        return record_contents.find(folder, read, reading)
    except tf.errors.DataLossError:
        raise UsageError(
            f"A record file of {folder} is not a whole TFRecord file: write it again."
        ) from None


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


def open_tfds(builder, split, reading):
    """Returns the images of a split of what tensorflow-datasets has prepared.

    Of several features with labels it is that of `reading.label_key`, or else of the set's
    `supervised_keys`.
    """
    import tensorflow_datasets as tfds

    info = builder.info
    features = dict(info.features)
    images = [key for key, value in features.items() if isinstance(value, tfds.features.Image)]
    labels = _labels_of_tfds(features)
    if not reading.multi_label:
        several = [key for key, (form, _) in labels.items() if form != record_contents.ONE]
        labels = {key: found for key, found in labels.items() if key not in several}
        if reading.label_key in several or (several and not labels):
            raise UsageError(
                f"{info.name} has several labels an image, in {', '.join(sorted(several))}: give "
                "--multi-label."
            )
    usual = info.supervised_keys or (None, None)
    image_key = _of_tfds(info, images, reading.image_key, usual[0], "--image-key", "an image")
    label_key = _of_tfds(info, labels, reading.label_key, usual[-1], "--label-key", "a class")
    form, classes = labels[label_key]
    if reading.multi_label and form == record_contents.ONE:
        say_once(f"{info.name}: each image has one label, {label_key} (--label-key)")
    if split not in info.splits:
        raise UsageError(
            f"{info.name} has no split {split}; choose one of: {', '.join(info.splits)}"
        )
    shards = [str(path) for path in info.splits[split].filepaths]
    about = record_contents.Contents(image_key, label_key, classes, 0, form, reading.multi_label)
    lengths = info.splits[split].shard_lengths
    if ".array_record" in shards[0]:
        return array_records.open_files(shards, about, lengths)
    if ".tfrecord" not in shards[0]:
        raise UsageError(
            f"{info.name} must be prepared as TFRecord or ArrayRecord files: prepare it again with "
            f"tensorflow-datasets' file_format tfrecord. Received: {shards[0]}"
        )
    return _records(shards, about, lengths=lengths)


def _labels_of_tfds(features):
    """Returns the form of the labels and the classes of each feature that has labels."""
    import tensorflow_datasets as tfds

    label, found = tfds.features.ClassLabel, {}
    for key, value in features.items():
        inner = getattr(value, "feature", None)
        if isinstance(value, label):
            found[key] = record_contents.ONE, tuple(value.names)
        elif isinstance(inner, label):
            found[key] = record_contents.LIST, tuple(inner.names)
        elif isinstance(inner, tfds.features.FeaturesDict):
            for name, each in inner.items():
                if isinstance(each, label):
                    found[f"{key}/{name}"] = record_contents.LIST, tuple(each.names)
        elif isinstance(value, tfds.features.FeaturesDict) and _are_yes_or_no(value):
            found[key] = record_contents.COLUMNS, tuple(sorted(value))
    return found


def _are_yes_or_no(features):
    return all(each.shape == () and each.dtype == bool for each in features.values())


def _of_tfds(info, able, asked, usual, option, kind):
    able = list(able)
    found = asked or (usual if usual in able else able[0] if len(able) == 1 else None)
    if found in able:
        if len(able) > 1 and not asked:
            say_once(f"{info.name}: of {', '.join(sorted(able))}, {found} is taken ({option})")
        return found
    raise UsageError(
        f"{option} must name {kind} of {info.name}: {', '.join(sorted(able)) or 'it has none'}. "
        f"Received: {asked or 'none'}, and examples with {', '.join(info.features)}"
    )


def _records(shards, about, folder=None, lengths=None):
    with record_files.pool(shards[0]) as pool:
        scanned = list(pool.map(_scan_once, shards))
    counts = list(map(len, scanned))
    if lengths is not None:
        record_files.require_counts(shards, counts, lengths)
    elif folder:
        record_files.check_counts(folder, shards, counts)
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
    return RecordSource(about, np.array(shards, object), places)


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
