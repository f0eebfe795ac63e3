"""ZIP archives, of NumPy, Keras and PyTorch: what they say of their sizes is checked first."""

import io
import os
import struct
import zipfile

import numpy as np

from keras_mixers.weights.stored import (
    MAX_LIST,
    Stored,
    UnreadableFile,
    check_name,
    check_type,
    check_unique,
)

_MAX_HEADER = 1_000  # Bytes of a .npy header: a name of a type and a shape.
_MAX_ZIP_END = 22 + 2**16  # With the longest comment.


def open_archive(path, stack):
    """Returns the `ZipFile`, whose list is of limited length; `stack` closes it."""
    size, start = _list_of_zip(path)
    if size > MAX_LIST:  # ZipFile reads the whole list, whatever its length.
        raise UnreadableFile("it has too many arrays, or their names are too long")
    archive = stack.enter_context(zipfile.ZipFile(path))
    if archive.start_dir != start:  # PyTorch would read another list there.
        raise UnreadableFile("it is an archive behind something else")
    names = archive.namelist()
    check_unique(names)
    for name in names:
        check_name(name)
    return archive


def _list_of_zip(path):
    """Returns the length of the list of a zip's entries, and where it begins, by the zip's end."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - _MAX_ZIP_END))
        end = file.read()
    place = end.rfind(b"PK\5\6")
    if place < 0 or place + 22 > len(end):
        raise zipfile.BadZipFile("it has no end")
    return struct.unpack_from("<2L", end, place + 12)


def unpacked(archive, name):
    """Returns the bytes of an entry that is not compressed."""
    check_unpacked(archive, name)
    return archive.read(name)


def check_unpacked(archive, name):
    """Raises an error where an entry is compressed, and could be of any size, or claims to be."""
    stored = archive.getinfo(name)
    if stored.compress_type != zipfile.ZIP_STORED or stored.file_size != stored.compress_size:
        raise UnreadableFile(f"{name!r} in it is packed, as Keras and PyTorch never do")


def npy(archive, name):
    """Returns the `Stored` of an entry in NumPy's format."""
    packed = archive.getinfo(name).compress_type
    if packed not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Others unpack a few kilobytes to gigabytes at once.
        raise UnreadableFile(f"its array {name!r} is packed, as NumPy never does")
    with archive.open(name) as file:
        start = io.BytesIO(file.read(_MAX_HEADER))  # NumPy reads a header, whatever its length.
    version = np.lib.format.read_magic(start)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, _, dtype = read_header(start, max_header_size=_MAX_HEADER)
    if dtype.hasobject:
        raise UnreadableFile(f"its array {name!r} is pickled, and pickles are not opened")

    def read():
        check_type(dtype)
        with archive.open(name) as file:
            array = np.lib.format.read_array(file, allow_pickle=False, max_header_size=_MAX_HEADER)
            if file.read(1):  # At the end the checksum is compared, too.
                raise UnreadableFile("it is longer than its shape says")
        return array

    return Stored(shape, read)
