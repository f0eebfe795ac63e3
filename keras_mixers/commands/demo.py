"""Shows a model in the browser: an image by drag, file or camera, or drawn; nothing leaves it.

MODEL is a TFLite file, as keras-mixers export writes them, or the run folder that holds it. The
page runs that very file by LiteRT.js, on the CPU of the machine that the browser is on. It prepares
images as the model's evaluation does, and shows the most probable classes, the milliseconds for an
image, and what the model sees of it. Nothing is loaded from elsewhere. LiteRT.js comes from npm,
into a cache folder (of $XDG_CACHE_HOME, where that is set):
  npm install --prefix ~/.cache/keras_mixers/litert \\
    @litertjs/core@2.5.3 @litertjs/wasm-utils@2.5.3

Names of classes and how images are prepared stand in the file, and options override them. A file
of another tool that does not say has numbers for names, pixels from -1 to 1, and sees the largest
central crop of an image that has its aspect ratio; a line says what was assumed.

On a phone: browsers give the camera only to pages of https:// and of the machine itself. By USB,
with the phone's debugging switched on, it sees this machine's page as its own, camera and all:
  adb reverse tcp:8000 tcp:8000        then, on the phone: http://localhost:8000
Over the network, --host 0.0.0.0 opens the page to everybody in it, without the camera; images by
file work there, and phones offer to take one. The address to open is printed.

Exit status: 0 when stopped by Ctrl+C; 2 when the model or the arguments cannot be used.

Examples (the first line makes the model for the others, in a minute):
  keras-mixers digits --model smlpnet
  keras-mixers demo runs/digits/smlpnet
  keras-mixers demo runs/digits/smlpnet/model.tflite --port 0 --top-k 10
"""

import argparse
import socket
import sys

from keras_mixers.commands import cli, options
from keras_mixers.errors import UsageError, first_line


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="keras-mixers demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", help="TFLite file, or run folder with one, to show", metavar="MODEL")
    host = "name or IPv4 address of this machine to listen on (default: %(default)s)"
    add("--host", default="127.0.0.1", help=host)
    port = "port to listen on, from 0 to 65535; 0 takes any free one (default: %(default)s)"
    add("--port", type=int, default=8000, metavar="N", help=port)
    shown = "number of most probable classes to show, from 1 (default: %(default)s)"
    add("--top-k", type=int, default=5, metavar="K", help=shown)
    shown = "text file with the name of a class in each line (default: the names in MODEL)"
    add("--labels", metavar="FILE", help=shown)
    options.add_scaling(parser, "MODEL's, or else {:g}")
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
    cli.prepare(parser, ("ai_edge_litert", "flatbuffers"), ("tensorflow", "jax"))
    from keras_mixers.demo import serving

    try:
        server = serving.make_server(
            args.model,
            args.host,
            args.port,
            labels=args.labels,
            mean=args.mean,
            std=args.std,
            top_k=args.top_k,
        )
    except UsageError as error:  # Whole, as it ends in a command to be copied.
        print(f"keras-mixers demo: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
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
