"""The demo's server: the page, LiteRT.js and one model."""

import json
import pathlib

from keras_mixers.demo import description, litert_js, page_server
from keras_mixers.errors import UsageError, first_line

PAGE = pathlib.Path(__file__).parent / "page"
_OF_PAGE = ("failure.js", "page.js", "page.css", "model.js", "image.js")


def table(model, about):
    """Returns all that is served: a dict from the path of a request to a `Served`.

    Args:
        model: Path of the TFLite file.
        about: What `description.describe` returns.

    Raises:
        UsageError: LiteRT.js is not installed.
    """
    served = {"/": page_server.file(PAGE / "index.html")}
    served |= {f"/{name}": page_server.file(PAGE / name) for name in _OF_PAGE}
    served |= litert_js.served()
    # Read once, so that it stays the file that was described.
    served["/model.tflite"] = page_server.Served(model.read_bytes(), "application/octet-stream")
    served["/model.json"] = page_server.Served(json.dumps(about).encode(), "application/json")
    return served


def make_server(model, host="127.0.0.1", port=8000, **options):
    """Returns the server of a model; it listens, and `serve_forever` lets it answer.

    Args:
        model: Path of a TFLite file, or of the run folder that holds it.
        host: Name or IPv4 address of this machine.
        port: 0 for any that is free.
        options: See `description.describe`.

    Raises:
        UsageError: The model cannot be shown, LiteRT.js is missing, or the port is taken.
    """
    path = description.find_model(str(model))
    served = table(path, description.describe(path, **options))
    policy = page_server.content_security_policy((PAGE / "index.html").read_bytes())
    try:
        return page_server.make(host, port, served, policy)
    except OSError as error:
        raise UsageError(
            f"--host and --port must be free, and this machine's; choose another --port, or 0 for "
            f"any. Received: {host}:{port}: {error.strerror or first_line(error)}"
        ) from None
