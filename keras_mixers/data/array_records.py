"""Images in ArrayRecord files, as tensorflow-datasets prepares them where it is told to."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from keras_mixers import extras
from keras_mixers.data import record_contents, record_files
from keras_mixers.data.folders import constants


@dataclasses.dataclass(frozen=True)
class ArrayRecordSource:
    """Encoded images in ArrayRecord files, found by file and place in it."""

    about: record_contents.Contents
    files: tuple[str, ...]
    places: np.ndarray
    """int64 of shape `(images, 2)`: file and number of the record in it."""

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
        (places,) = self._tensors
        record = tf.numpy_function(self._record, [places[index]], tf.string)
        return self.about.read(record)

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
        about: `record_contents.Contents`.
        lengths: Numbers of records that they must have, or None.

    Raises:
        UsageError: array_record is missing, or a file is not whole.
    """
    extras.require("ArrayRecord files", ("array_record",))
    counts = [_reader(path).num_records() for path in paths]
    if lengths is not None:
        record_files.require_counts(paths, counts, lengths)
    places = [(file, number) for file, count in enumerate(counts) for number in range(count)]
    return ArrayRecordSource(about, tuple(paths), np.array(places, "int64"))


def _reader(path):
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(path)
