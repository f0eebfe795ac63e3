"""Images in ArrayRecord files, as tensorflow-datasets prepares them where it is told to."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from keras_mixers import extras
from keras_mixers.data import record_files
from keras_mixers.data.folders import constants


@dataclasses.dataclass(frozen=True)
class ArrayRecordSource:
    """Encoded images in ArrayRecord files, found by file and place in it."""

    classes: tuple[str, ...]
    files: tuple[str, ...]
    places: np.ndarray
    """int64 of shape `(images, 2)`: file and number of the record in it."""
    image_key: str
    label_key: str

    def __len__(self):
        return len(self.places)

    def read(self, index):
        """Returns an image's bytes and label as tensors; works inside `Dataset.map`."""
        (places,) = self._tensors
        record = tf.numpy_function(self._record, [places[index]], tf.string)
        features = tf.io.parse_single_example(
            record,
            {
                self.image_key: tf.io.FixedLenFeature((), tf.string),
                self.label_key: tf.io.FixedLenFeature((), tf.int64),
            },
        )
        return features[self.image_key], features[self.label_key]

    def name(self, index):
        file, record = self.places[index]
        return f"{self.files[file]}, record {record}"

    def _record(self, place):
        file, number = map(int, place)
        return self._readers[file].read([number])[0]

    @functools.cached_property
    def _tensors(self):
        return constants(self.places)

    @functools.cached_property
    def _readers(self):
        return [_reader(path) for path in self.files]


def open_files(paths, about, lengths):
    """Returns the images of ArrayRecord files, as an `ArrayRecordSource`.

    Args:
        paths: Of the files.
        about: `record_files.Contents`.
        lengths: Numbers of records that they must have, or None.

    Raises:
        UsageError: array_record is missing, or a file is not whole.
    """
    extras.require("ArrayRecord files", ("array_record",))
    counts = [_reader(path).num_records() for path in paths]
    if lengths is not None:
        record_files.require_counts(paths, counts, lengths)
    places = [(file, number) for file, count in enumerate(counts) for number in range(count)]
    return ArrayRecordSource(
        about.classes, tuple(paths), np.array(places, "int64"), about.image_key, about.label_key
    )


def _reader(path):
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(path)
