"""What an exported file says of itself: how its images are prepared, and its classes.

A TFLite file has it in a zip archive behind the model, where MediaPipe's tasks look for labels; a
SavedModel has it in a file beside the graph.
"""

import json
import zipfile

from keras_mixers.preprocessing import Preprocessing

LABELS = "labels.txt"
ABOUT = "export.json"
METADATA = b"TFLITE_METADATA"


def read_tflite(path):
    """Returns `(about, labels)` of a TFLite file: None for what it does not have.

    `about` is the dict that the exporter wrote, see `keras_mixers.export.tflite`.

    Raises:
        ValueError: The file says that it has them, but they cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            about = json.loads(archive.read(ABOUT)) if ABOUT in names else None
            labels = archive.read(LABELS).decode().splitlines() if LABELS in names else None
            return about, labels
    except (zipfile.BadZipFile, ValueError):  # None at all, or not ours.
        if _names_files(path):
            raise ValueError("it is cut short: the labels behind the model are missing") from None
        return None, None


def read_saved_model(path):
    """Returns `(about, labels)` of the folder of a SavedModel, as `read_tflite` does."""
    file = path / "assets.extra" / ABOUT
    if not file.exists():
        return None, None
    about = json.loads(file.read_text())
    return about, about.get("labels")


def preprocessing_of(about):
    """Returns the `Preprocessing` in what an export says of itself, and whether it is included.

    `(None, False)` where it does not say it.
    """
    if not isinstance(about, dict) or "preprocessing" not in about:
        return None, False
    included = bool(about.get("includes_preprocessing"))
    return Preprocessing.from_config(about["preprocessing"]), included


def labels_of(about):
    """Returns what an export says of several labels an image, as fields of a `LoadedModel`."""
    if not isinstance(about, dict):
        return {}
    thresholds = about.get("thresholds")
    return {
        "probabilities_by": about.get("probabilities_by"),
        "multi_label": bool(about.get("multi_label")),
        "thresholds": thresholds and tuple(map(float, thresholds)),
    }


def _names_files(path):
    """Whether the metadata in a TFLite file name files that we read."""
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        named = [each for each in model.metadata if each.name == METADATA]
        tables = [bytes(bytearray(model.buffers[each.buffer].data)) for each in named]
        return any(name.encode() in table for table in tables for name in (ABOUT, LABELS))
    except Exception:  # Whatever is in the file; it is no model, or has no metadata.
        return False
