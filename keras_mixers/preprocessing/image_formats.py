"""The formats of image files: told apart by their first bytes, whatever a file's name says."""

import functools
import importlib.util

ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "WebP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "HEIC": (".heic", ".heif", ".hif"),
    "NumPy": (".npy",),
}
"""Usual endings of the names of files, by format."""

HEAD = 32
"""How many of a file's first bytes `of` looks at."""

_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\x93NUMPY": "NumPy",
}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"
)


def of(data):
    """Returns the format of a file that begins with the bytes `data`, or None."""
    for start, found in _STARTS.items():
        if data.startswith(start):
            return found
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        # mif1 says little; an AVIF file may begin with it, and then names its own brand next.
        return "AVIF" if b"avif" in data[:HEAD] else _BRANDS.get(data[8:12])
    # Two letters are few: the length of the header that follows is one that BMP files have.
    is_bmp = data[:2] == b"BM" and data[14:18] in {bytes((n, 0, 0, 0)) for n in (12, 40, 108, 124)}
    return "BMP" if is_bmp else None


def by_name(name):
    """Returns the format that the name of a file promises, or None."""
    name = name.lower()
    return next((kind for kind, endings in ENDINGS.items() if name.endswith(endings)), None)


@functools.cache
def lacks(kind):
    """Returns what must be installed to read a format by Pillow, or None."""
    if importlib.util.find_spec("PIL") is None:
        return "pillow"
    if kind == "HEIC" and importlib.util.find_spec("pillow_heif") is None:
        return "pillow-heif"
    if kind == "AVIF":
        from PIL import features

        return None if features.check("avif") else "pillow>=11.3"
    return None
