"""The lock of a run folder, where the platform lacks what it is made of."""

import subprocess
import sys

_WITHOUT = """
import sys

for name in ("fcntl", "resource", "pwd", "grp", "termios"):  # Windows has none of them.
    sys.modules[name] = None

from etils import epath

import keras_mixers.training
from keras_mixers.commands import digits, evaluate, export, finetune, imagenet, make_shards
from keras_mixers.data import array_records, sources, tables
from keras_mixers.training import lock, run

with lock.locked(epath.Path(sys.argv[1])):
    print("locked")
"""


def test_nothing_needs_what_windows_lacks(tmp_path):
    command = [sys.executable, "-c", _WITHOUT, str(tmp_path / "run")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.endswith("locked\n"), result.stderr[-2000:]
