"""What is built once for all processes of a test run."""

import os
import shutil

from filelock import FileLock


def folder(factory, name, make):
    """Returns a folder that `make` has filled, in this process of pytest-xdist or in another.

    Args:
        factory: pytest's `tmp_path_factory`.
        name: Of the folder.
        make: Called with the folder, empty, in the first process that comes here.
    """
    root = factory.getbasetemp()
    root = root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root
    made, done = root / f"shared-{name}", root / f"shared-{name}.done"
    with FileLock(f"{made}.lock"):
        if not done.exists():
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            make(made)
            done.touch()
    return made
