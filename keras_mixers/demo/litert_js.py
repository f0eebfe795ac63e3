"""LiteRT.js, the runtime of the page: from npm, in a cache folder.

It is not in the wheel: unpacked it takes 39 MB, sixty times as much as all of keras_mixers.
"""

import json
import os
import pathlib
import shlex

from keras_mixers.demo import page_server
from keras_mixers.errors import UsageError

LOCK = pathlib.Path(__file__).parent / "page" / "package-lock.json"
_SERVED = {
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


def folder():
    """Returns the path of the folder that npm installs into."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(cache).expanduser() / "keras_mixers" / "litert"


def command():
    """Returns the command that installs it, at the versions of `LOCK`."""
    packages = [
        f"{path.removeprefix('node_modules/')}@{about['version']}"
        for path, about in _packages(LOCK).items()
    ]
    return shlex.join(["npm", "install", "--prefix", str(folder()), *packages])


def served():
    """Returns a dict from the path of a request to what is `Served` there.

    Raises:
        UsageError: It is not installed, or not at these versions.
    """
    modules = folder() / "node_modules"
    try:
        installed = _packages(modules / ".package-lock.json")
        for path, about in _packages(LOCK).items():
            if installed.get(path, {}).get("integrity") != about["integrity"]:
                raise UsageError(
                    f"LiteRT.js must be that of this version of keras_mixers; {modules} holds "
                    f"another {path.removeprefix('node_modules/')}; fix it by: {command()}"
                )
        packages = modules / "@litertjs"
        return {place: page_server.file(packages / name) for place, name in _SERVED.items()}
    except FileNotFoundError as error:
        raise UsageError(
            f"LiteRT.js is missing, {error.filename}; fix it by: {command()}"
        ) from None


def _packages(lock):
    """Returns what a lock file of npm says of each package, by its path."""
    packages = json.loads(lock.read_text())["packages"]
    return {path: about for path, about in packages.items() if path}
