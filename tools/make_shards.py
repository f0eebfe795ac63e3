"""`keras-mixers make-shards`, from a clone: python tools/make_shards.py --help."""

import pathlib
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from keras_mixers import commands  # noqa: E402

if __name__ == "__main__":
    commands.main(["make-shards", *sys.argv[1:]])
