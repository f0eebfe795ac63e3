"""Small silent faults, each of which some test must see; `python -m tests.mutations` tries them."""

import pathlib
import shutil
import subprocess
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def read():
    """Returns the mutations in mutations.toml, as dicts."""
    text = (ROOT / "tests" / "mutations" / "mutations.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["mutation"]


def count(mutation):
    """Returns how often what a mutation replaces occurs in its file."""
    path = ROOT / mutation["file"]
    return path.read_text(encoding="utf-8").count(mutation["old"]) if path.is_file() else 0


def room(file):
    """Returns the room of a file; "root" of modules in none, "scripts" of recipes and tools."""
    top, *rest = pathlib.PurePath(file).parts
    if top != "keras_mixers":
        return "scripts"
    return rest[0] if len(rest) > 1 else "root"


def copied(folder):
    """Copies the files that git tracks, as they are now, to a folder."""
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    for name in names.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
