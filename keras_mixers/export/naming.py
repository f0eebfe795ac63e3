"""What an exported model is called."""

import pathlib

FORMATS = {"tflite": ".tflite", "savedmodel": ""}


def target(model, folder, precision="float32", kind="tflite"):
    """Returns the path, in a folder, of what is made of a model."""
    stem = pathlib.PurePath(str(model).rstrip("/")).name
    stem = stem.removesuffix(".keras").removesuffix(".npz")
    if precision != "float32":
        stem += f"-{precision}"
    return folder / (stem + FORMATS[kind])
