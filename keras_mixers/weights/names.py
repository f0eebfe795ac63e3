"""How other codebases name the weights of a family, and how they lay them out.

A table has the path of a weight in our model, with `{i}` for the number of a block or a stage, and
beside it their name and layout. Each family's file has its own tables.
"""

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

_MOST_BLOCKS = 1000


class Layout(NamedTuple):
    """How an array lies in their file: functions of an array, there and back."""

    to_keras: Callable
    from_keras: Callable


def _transposed(to_keras, from_keras):
    return Layout(lambda a: a.transpose(to_keras), lambda a: a.transpose(from_keras))


SAME = Layout(lambda a: a, lambda a: a)
# PyTorch has the outputs first: (out, in), (out, in, height, width).
LINEAR = _transposed((1, 0), (1, 0))
CONV = _transposed((2, 3, 1, 0), (3, 2, 0, 1))
DEPTHWISE = _transposed((2, 3, 0, 1), (2, 3, 0, 1))
POINTWISE = Layout(lambda a: a[:, :, 0, 0].T, lambda a: a.T[:, :, None, None])
# A convolution of 2 x 2 and stride 2, for our projection of 2 x 2 concatenated neighbors.
MERGING = Layout(
    lambda a: a.transpose(2, 3, 1, 0).reshape(-1, a.shape[0]),
    lambda a: a.reshape(2, 2, -1, a.shape[-1]).transpose(3, 2, 0, 1),
)


class Naming(NamedTuple):
    """One codebase's names for the weights of one family.

    Attributes:
        title: What messages call it.
        mark: A name that tells its files from others.
        activation: Of its perceptrons.
        table: `{our path: (their name, layout)}`.
        ignored: Matches their names of what is no weight.
        older: Pairs of a pattern and a replacement, from names of an earlier version of the
            codebase to those in the table.
        squeezed: Matches earlier names of arrays that carry axes of length 1.
        preprocessing: The `Preprocessing` that all of the codebase's published weights expect, or
            None where it differs from file to file.
        saved_as: Ending of the files that `keras_mixers.weights.save` writes in it, or None.
    """

    title: str
    mark: str
    activation: str
    table: dict
    ignored: re.Pattern = re.compile("(?!)")
    older: tuple = ()
    squeezed: re.Pattern = re.compile("(?!)")
    preprocessing: object = None
    saved_as: str | None = None

    def of(self, path):
        """Returns their name of our weight at `path`, and its layout; None if they have none."""
        return _expanded(self.title, tuple(self.table.items())).get(path)

    def current(self, name):
        """Returns the name in the table for one of an earlier version; any other as it is."""
        for pattern, replacement in self.older:
            if re.fullmatch(pattern, name):
                return re.sub(pattern, replacement, name)
        return name


@functools.cache
def _expanded(title, rows):
    """Returns the table with a row for each block: nothing is read out of a path."""
    table = {}
    for path, (name, layout) in rows:
        for i in range(_MOST_BLOCKS if "{i}" in path else 1):
            table[path.replace("{i}", str(i))] = (name.replace("{i}", str(i)), layout)
    return table


def layer(ours, theirs, kernel=LINEAR, weight="weight"):
    """Returns the rows of a layer with kernel and bias."""
    return {
        f"{ours}/kernel": (f"{theirs}{weight}", kernel),
        f"{ours}/bias": (f"{theirs}bias", SAME),
    }


def norm(ours, theirs, scale="weight"):
    """Returns the rows of a norm with scale and offset."""
    return {f"{ours}/gamma": (theirs + scale, SAME), f"{ours}/beta": (f"{theirs}bias", SAME)}


def batch_norm(ours, theirs):
    """Returns the rows of a batch normalization of PyTorch."""
    return norm(ours, theirs) | {
        f"{ours}/moving_mean": (f"{theirs}running_mean", SAME),
        f"{ours}/moving_variance": (f"{theirs}running_var", SAME),
    }


def flax_layer(ours, theirs):
    """Returns the rows of a dense layer or convolution of Flax, laid out as Keras' are."""
    return layer(ours, theirs, kernel=SAME, weight="kernel")


def flax_norm(ours, theirs):
    """Returns the rows of a layer normalization of Flax."""
    return norm(ours, theirs, scale="scale")


# The optimizer's state, which lies beside the weights of a training.
_TRAINING = re.compile(r"(opt|opt_state|optimizer|state|step|epoch)(/.*)?")


def recognize(names, namings):
    """Returns the naming of a file and pairs of their name today and the one in the file, or None.

    What training wraps the weights' names in is taken off, such as "opt/target/params/",
    "module." and "_orig_mod."; names of the optimizer's state, and what the naming ignores, are
    left out.

    Args:
        names: Of the arrays in the file.
        namings: The `Naming`s to choose from.
    """
    for naming in namings:
        prefix = _prefix(names, naming)
        if prefix is None:
            continue
        pairs = []
        for name in names:
            if prefix and name.startswith(prefix):
                pairs.append((naming.current(name.removeprefix(prefix)), name))
            elif not _TRAINING.fullmatch(name):  # What is no weight of ours is found by its name.
                pairs.append((name if prefix else naming.current(name), name))
        return naming, [pair for pair in pairs if not naming.ignored.fullmatch(pair[0])]
    return None


def _prefix(names, naming):
    """Returns what stands before the naming's mark, the shortest; None where the mark is nowhere.

    The optimizer's state has an array for each weight, too, but for Flax' "target", which holds the
    weights themselves.
    """
    found = set()
    for name in names:
        starts = [0, *(place.end() for place in re.finditer(r"[./]", name))]
        found.update(name[:i] for i in starts if naming.current(name[i:]) == naming.mark)
    weights = [p for p in found if not _TRAINING.fullmatch(p) or "target/" in p]
    return min(weights, key=len, default=None)
