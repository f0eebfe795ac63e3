"""Packages that only a part of the work needs, and the extras of setup.cfg that install them."""

import importlib.util
import itertools

from keras_mixers.errors import UsageError

# The modules, by extra; setup.cfg has the versions. From small to large.
EXTRAS = {
    "tensorflow": {"tensorflow"},
    "jax": {"jax"},
    "weights": {"etils", "pydantic", "safetensors", "tabulate"},
    "train": {
        *("etils", "filelock", "matplotlib", "PIL", "pydantic", "tabulate", "tensorboard"),
        *("tensorflow_datasets", "tqdm", "tyro"),
    },
    "export": {
        *("ai_edge_litert", "ai_edge_quantizer", "etils", "flatbuffers", "pydantic"),
        *("tabulate", "tensorflow", "tqdm"),
    },
    "images": {"PIL", "pillow_heif", "tifffile"},
}
EXTRAS["plan"] = EXTRAS["train"] | {"tensorflow", "jax", "libtpu"}
EXTRAS["recipes"] = EXTRAS["weights"] | EXTRAS["train"] | EXTRAS["export"] | {"sklearn"}
EXTRAS["recipes"] |= EXTRAS["images"]


def missing(modules):
    """Returns those of `modules` that are not installed; imports none of them."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def install(modules):
    """Returns the shortest command that installs all of `modules`.

    TensorFlow comes last: on a TPU machine it is there, and must not be installed over.
    """
    others = set(modules) - {"tensorflow"}
    names = [name for name in EXTRAS if name != "recipes"]
    choices = [c for length in range(len(names)) for c in itertools.combinations(names, length)]
    chosen = next((c for c in choices if others <= _modules(c)), ("recipes",))
    if "tensorflow" in modules and "tensorflow" not in _modules(chosen):
        chosen = ("tensorflow", *chosen)
    return f'pip install "keras_mixers[{",".join(chosen)}]"'


def need(work, modules):
    """Returns a sentence where one of the `modules` that `work` needs is missing, or None."""
    absent = missing(modules)
    if not absent:
        return None
    return f"{work} needs {', '.join(absent)}, which cannot be found; fix it by: {install(absent)}"


def require(work, modules):
    """Raises a `UsageError` where one of the `modules` that `work` needs is missing."""
    if sentence := need(work, modules):
        raise UsageError(sentence)


def _modules(extras):
    return set().union(*(EXTRAS[name] for name in extras))
