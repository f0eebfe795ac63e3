"""Labels, input range and origin in a TFLite file, where the libraries of phones look for them.

The format is public: a table of the file `metadata_schema.fbs` of MediaPipe (identifier M001), in a
buffer named TFLITE_METADATA, and files in a zip archive behind the model. There is a writer in the
package tflite-support, which has had no release since 2023, and one in mediapipe, whose wheel lacks
a module that it imports (1.2.2).
"""

import io
import json
import zipfile

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from keras_mixers.evaluation.exported import ABOUT, LABELS, METADATA
from keras_mixers.export import flatbuffer

_IDENTIFIER = b"M001"
_IMAGE_PROPERTIES, _NORMALIZATION, _AXIS_LABELS, _DESCRIPTION = 2, 1, 2, 1
_RGB, _GRAYSCALE = 1, 2


def add(data, about, labels=None, scaling=None):
    """Returns the bytes of a TFLite file with metadata.

    Args:
        data: Bytes of a TFLite file with one input `(batch, height, width, channels)` and one
            output `(batch, classes)`.
        about: A dict for programs, kept as `export.json`: `name` and `description` are shown to
            people as well, `outputs` names what the numbers are.
        labels: Names of the classes, or None.
        scaling: `(scale, offset)`, arrays of one number per channel, by which a caller makes the
            input of pixels: `pixel * scale + offset`; None where the input is the pixels. MediaPipe
            asks for these numbers of every input of real numbers, also where they change nothing.
    """
    model = flatbuffer.read(data)
    graph = model.subgraphs[0]
    channels = int(graph.tensors[graph.inputs[0]].shape[-1])
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA, len(model.buffers)
    model.metadata = [kept for kept in model.metadata or () if kept.name != METADATA] + [entry]
    buffer = schema.BufferT()
    buffer.data = list(_packed(_tables(about, labels, scaling, channels)))
    model.buffers.append(buffer)
    files = {LABELS: "\n".join(labels) + "\n"} if labels else {}
    files[ABOUT] = json.dumps(about, indent=1)
    file = io.BytesIO(flatbuffer.write(model))
    with zipfile.ZipFile(file, "a") as archive:  # Stored: a phone maps the file into memory.
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return file.getvalue()


def _tables(about, labels, scaling, channels):
    """The tables of the schema: a dict from the place of a field to its value."""
    image = {0: ("byte", _RGB if channels == 3 else _GRAYSCALE)}
    pixels = {
        0: "image",
        1: "Pixels from 0 to 255" + (", normalized." if scaling else "."),
        3: {0: ("ubyte", _IMAGE_PROPERTIES), 1: image},
    }
    scaling = scaling or ([1] * channels, [0] * channels)
    scale, offset = ([float(x) for x in values] for values in scaling)
    mean = [0.0 - o / s for s, o in zip(scale, offset, strict=True)]
    std = [1 / s for s in scale]
    pixels[4] = [{0: ("ubyte", _NORMALIZATION), 1: {0: mean, 1: std}}]
    pixels[5] = {
        0: [255 * s + o for s, o in zip(scale, offset, strict=True)],
        1: offset,
    }
    scores = {0: about["outputs"], 1: "A number for each class."}
    if labels:
        file = {0: LABELS, 1: "Names of the classes, in order.", 2: ("byte", _AXIS_LABELS)}
        scores[6] = [file]
    return {
        0: about["name"],
        1: about["description"],
        3: [{2: [pixels], 3: [scores]}],
        6: [{0: ABOUT, 1: "How the file was made.", 2: ("byte", _DESCRIPTION)}],
        7: "1.0.0",
    }


def _packed(table):
    builder = flatbuffers.Builder()
    builder.Finish(_pack(builder, table), _IDENTIFIER)
    return bytes(builder.Output())


def _pack(builder, value):
    """Writes a string, a list of numbers or tables, or a table; returns where it is."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, list):
        return _pack_list(builder, value)
    fields = {
        place: field if isinstance(field, tuple) else ("offset", _pack(builder, field))
        for place, field in value.items()
    }
    builder.StartObject(max(fields) + 1)
    for place, (kind, field) in fields.items():
        if kind == "offset":
            builder.PrependUOffsetTRelativeSlot(place, field, 0)
        else:
            {"byte": builder.PrependInt8Slot, "ubyte": builder.PrependUint8Slot}[kind](
                place, field, 0
            )
    return builder.EndObject()


def _pack_list(builder, values):
    if isinstance(values[0], float):
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependFloat32(value)
    else:
        offsets = [_pack(builder, value) for value in values]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
