"""Small silent faults, each of which some test must see; `python -m tests.mutations` tries them."""

import pathlib
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def read():
    """Returns the mutations in mutations.toml, as dicts."""
    text = (ROOT / "tests" / "mutations" / "mutations.toml").read_text()
    return tomllib.loads(text)["mutation"]


def count(mutation):
    """Returns how often what a mutation replaces occurs in its file."""
    path = ROOT / mutation["file"]
    return path.read_text().count(mutation["old"]) if path.is_file() else 0


def room(file):
    """Returns the room of a file; "root" of modules in none, "scripts" of recipes and tools."""
    top, *rest = pathlib.PurePath(file).parts
    if top != "keras_mixers":
        return "scripts"
    return rest[0] if len(rest) > 1 else "root"
