"""Files that are complete or not there at all, in a folder or a bucket."""


def write(path, data):
    """Writes a file aside and puts it in place.

    Args:
        path: An `epath.Path`.
        data: Bytes, or text.
    """
    aside = path.parent / f"{path.name}.part"
    aside.write_bytes(data.encode() if isinstance(data, str) else data)
    aside.replace(path)
