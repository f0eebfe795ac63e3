"""Shows a model in the browser: a picture by drag, file or camera, or drawn; nothing leaves it.

MODEL is a TFLite file, as keras-mixers export writes them, or the run folder that holds it. The
page runs that very file by LiteRT.js, on the CPU of the machine that the browser is on. It prepares
pictures as the model's evaluation does, and shows the most probable classes, the milliseconds of a
picture, and what the model sees of it. Nothing is loaded from elsewhere. LiteRT.js comes from npm:
  npm install --prefix keras_mixers/demo/page

Names of classes and how pictures are prepared stand in the file, and options override them. A file
of another tool that does not say has numbers for names, pixels from -1 to 1, and sees the whole
central square of a picture.

On a phone: browsers give the camera only to pages of https:// and of the machine itself. By USB,
with the phone's debugging switched on, it sees this machine's page as its own, camera and all:
  adb reverse tcp:8000 tcp:8000        then, on the phone: http://localhost:8000
Over the network, --host 0.0.0.0 opens the page to everybody in it, without the camera; pictures by
file work there, and phones offer to take one. The address to open is printed.

Exit status: 0 when stopped by Ctrl+C; 2 when the model or the arguments cannot be used.

Examples (the first two lines make the model and fetch LiteRT.js, in two minutes):
  keras-mixers digits --model smlpnet
  npm install --prefix keras_mixers/demo/page
  keras-mixers demo runs/digits/smlpnet
  keras-mixers demo runs/digits/smlpnet/model.tflite --port 0 --top-k 10
"""

import argparse
import json
import pathlib
import shlex
import socket
import sys

from keras_mixers.commands import cli
from keras_mixers.errors import UsageError, first_line
from keras_mixers.evaluation import labels

PAGE = pathlib.Path(__file__).resolve().parents[1] / "demo" / "page"
PIXEL_RANGES = ("minus_one_one", "imagenet", "zero_one")
_KINDS = "a .tflite file or a run folder"
_OF_PAGE = ("failure.js", "page.js", "page.css", "model.js", "picture.js")
_OF_NPM = {
    "/litert/core.js": "core/dist/index.js",
    "/litert/wasm-utils.js": "wasm-utils/dist/index.js",
} | {
    # One is loaded, by what the browser knows of WebAssembly.
    f"/litert/wasm/litert_wasm_{kind}internal.{suffix}": (
        f"core/wasm/litert_wasm_{kind}internal.{suffix}"
    )
    for kind in ("", "compat_", "threaded_")
    for suffix in ("js", "wasm")
}
_TYPES = ("float32", "uint8")  # Of those that LiteRT.js knows; int8 is not among them.


def find_model(text):
    """Returns the path of the TFLite file that a user named, or the folder of.

    Raises:
        UsageError: There is none, or no single one.
    """
    path = pathlib.Path(text).expanduser()
    if not path.exists():
        raise UsageError(
            f"MODEL must be a .tflite file or a run folder. There is nothing at {text}"
        )
    if not path.is_dir():
        return path
    if (path / "model.tflite").exists():
        return path / "model.tflite"
    found = sorted(path.glob("*.tflite"))
    if not found and (path / "config.json").exists():
        folder = shlex.quote(text)
        raise UsageError(
            f"MODEL must hold a .tflite file; make it by: keras-mixers export {folder} {folder}"
        )
    if not found:
        raise UsageError(
            "MODEL must be a .tflite file, or a run folder that keras-mixers digits or "
            f"keras-mixers imagenet made. There is neither in {text}"
        )
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise UsageError(f"MODEL must be one of the .tflite files in {text}: {names}")
    return found[0]


def describe(path, args):
    """Returns what the page must know of a TFLite file, as a dict for `model.json`.

    Raises:
        UsageError: The page cannot show such a model.
    """
    from keras_mixers.export import metadata
    from keras_mixers.preprocessing import pixels
    from keras_mixers.training.config import TrainingConfig

    entry, end = _ends(path)
    _, height, width, channels = map(int, entry["shape"])
    try:
        about, names = metadata.read(path)
    except ValueError as error:
        raise UsageError(
            f"MODEL must be whole; copy or export it again. Received {path}: {error}"
        ) from None
    usual = TrainingConfig()
    about = about or {
        "name": path.stem,
        "source": path.name,
        "precision": "unknown",
        "probabilities_by": None if _gives_probabilities(path) else "softmax",
    }
    pixel_range = args.pixel_range or about.get("pixel_range", usual.pixel_range)
    scale, offset = pixels.factors(pixel_range, channels)
    quantum, zero_point = end["quantization"]
    return {
        "name": about["name"],
        # The folders of the machine that exported it are nobody's business.
        "source": pathlib.PureWindowsPath(about["source"]).name,
        "precision": about["precision"],
        "bytes": path.stat().st_size,
        "shape": [height, width, channels],
        "input": entry["dtype"].__name__,
        "pixel_scale": [float(number) for number in scale],
        "pixel_offset": [float(number) for number in offset],
        "eval_crop": about.get("eval_crop", 1.0),
        "interpolation": about.get("interpolation", usual.interpolation),
        # A real output has no quantum.
        "output_scale": float(quantum) or 1.0,
        "output_zero_point": int(zero_point),
        "probabilities_by": about["probabilities_by"],
        "labels": _labels(args.labels, names, int(end["shape"][-1])),
        "top_k": args.top_k,
    }


def _ends(path):
    """Returns what LiteRT knows of the input and the output of a file that the page can show."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(str(path))
    except (ValueError, RuntimeError) as error:  # Whatever is in the file.
        raise UsageError(f"MODEL must be {_KINDS}. Received {path}: {first_line(error)}") from None
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if (len(inputs), len(outputs)) != (1, 1):
        raise UsageError(
            "MODEL must have one input and one output. "
            f"Received {path}: {len(inputs)} and {len(outputs)}"
        )
    (entry,), (end,) = inputs, outputs
    shape = tuple(map(int, entry["shape"]))
    if len(shape) != 4 or shape[0] != 1 or shape[3] not in (1, 3):
        raise UsageError(
            "MODEL must take one picture, of shape (1, height, width, 1 or 3). "
            f"Received {path}: {shape}"
        )
    shape = tuple(map(int, end["shape"]))
    if len(shape) != 2 or shape[0] != 1:
        raise UsageError(
            f"MODEL must give a number for each class, of shape (1, classes). Received {path}: "
            f"{shape}"
        )
    for which, tensor in (("input", entry), ("output", end)):
        kind = tensor["dtype"].__name__
        if kind not in _TYPES:
            raise UsageError(
                f"MODEL must have an {which} of {' or '.join(_TYPES)}, which LiteRT.js knows, as "
                f"any --precision of keras-mixers export has. Received {path}: {kind}"
            )
    return entry, end


def _gives_probabilities(path):
    from keras_mixers.export import flatbuffer

    return flatbuffer.last_operator(path.read_bytes()) in ("softmax", "logistic")


def _labels(text, of_file, classes):
    """Returns names of the classes: from --labels, the file, or else numbers."""
    if text is not None:
        return list(labels.read(text, classes))
    if of_file is None or len(of_file) != classes:
        return [str(number) for number in range(classes)]
    return of_file


def table(model, about):
    """Returns all that is served: a dict from the path of a request to a `Served`.

    Args:
        model: Path of the TFLite file.
        about: What `describe` returns.

    Raises:
        UsageError: LiteRT.js is not installed.
    """
    from keras_mixers.demo import page_server

    packages = PAGE / "node_modules" / "@litertjs"
    served = {"/": page_server.file(PAGE / "index.html")}
    served |= {f"/{name}": page_server.file(PAGE / name) for name in _OF_PAGE}
    try:
        served |= {place: page_server.file(packages / name) for place, name in _OF_NPM.items()}
    except FileNotFoundError as error:
        raise UsageError(
            f"LiteRT.js is missing, {pathlib.Path(error.filename).relative_to(PAGE)}; mend it by: "
            "npm install --prefix keras_mixers/demo/page"
        ) from None
    # Read once, so that it stays the file that was described.
    served["/model.tflite"] = page_server.Served(model.read_bytes(), "application/octet-stream")
    served["/model.json"] = page_server.Served(json.dumps(about).encode(), "application/json")
    return served


def make_server(args):
    """Returns the server that `args` ask for; it listens, and `serve_forever` lets it answer.

    Raises:
        UsageError: The model cannot be shown, LiteRT.js is missing, or the port is taken.
    """
    from keras_mixers.demo import page_server

    model = find_model(args.model)
    served = table(model, describe(model, args))
    policy = page_server.content_security_policy((PAGE / "index.html").read_bytes())
    try:
        return page_server.make(args.host, args.port, served, policy)
    except OSError as error:
        raise UsageError(
            f"--host and --port must be free, and this machine's; choose another --port, or 0 for "
            f"any. Received: {args.host}:{args.port}: {error.strerror or first_line(error)}"
        ) from None


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="keras-mixers demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", help="see above", metavar="MODEL")
    host = "where to listen: a name or IPv4 address of this machine (default: %(default)s)"
    add("--host", default="127.0.0.1", help=host)
    add("--port", type=int, default=8000, metavar="N", help="0: any (default: %(default)s)")
    add("--top-k", type=int, default=5, metavar="K", help="bars (default: %(default)s)")
    add("--labels", metavar="FILE", help="names of the classes, a line each (default: the file's)")
    scaled = "how a float32 input is scaled (default: the file's, else minus_one_one)"
    add("--pixel-range", choices=PIXEL_RANGES, help=scaled)
    args = parser.parse_args(argv)
    if not 0 <= args.port < 2**16:
        parser.error(f"argument --port: must be from 0 to 65535. Received: {args.port}")
    if args.top_k < 1:
        parser.error(f"argument --top-k: must be at least 1. Received: {args.top_k}")
    if not args.host or ":" in args.host:
        parser.error(f"argument --host: must be a name or an IPv4 address. Received: {args.host!r}")
    return parser, args


def _places(host, port):
    """Returns what to open in a browser; where the server listens everywhere, also elsewhere."""
    if host != "0.0.0.0":
        return f"http://{host}:{port}/"
    return f"http://127.0.0.1:{port}/ and, in the network, http://{_own_address()}:{port}/"


def _own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Chooses the way out; sends nothing.
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def main(argv=None):
    parser, args = _parse(argv)
    cli.prepare(parser, "export", ("ai_edge_litert", "flatbuffers"), ("tensorflow", "jax"))
    try:
        server = make_server(args)
    except (UsageError, OSError) as error:
        print(f"keras-mixers demo: error: {first_line(error)}", file=sys.stderr)
        return 2
    with server:
        host, port = server.server_address
        try:
            print(f"{_places(host, port)} (stop it with Ctrl+C)", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
