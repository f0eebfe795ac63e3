"""`keras-mixers tpu-table`, from a clone: python tools/tpu_table.py --help."""

import pathlib
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from keras_mixers import commands  # noqa: E402

if __name__ == "__main__":
    commands.main(["tpu-table", *sys.argv[1:]])
