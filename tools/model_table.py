"""`keras-mixers model-table`, from a clone: python tools/model_table.py --help."""

import pathlib
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from keras_mixers import commands  # noqa: E402

if __name__ == "__main__":
    commands.main(["model-table", *sys.argv[1:]])
