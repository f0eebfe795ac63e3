"""Weights that the models' authors have published, fetched into Keras' cache."""

import fnmatch
import logging
import os
from typing import Any, NamedTuple

from keras_mixers import download
from keras_mixers.preprocessing import (
    BY_IMAGENET,
    TO_MINUS_ONE_ONE,
    TO_ZERO_ONE,
    Preprocessing,
)
from keras_mixers.weights import formats


class Published(NamedTuple):
    """A file of published weights, of images of 224 x 224.

    Attributes:
        url: Where it is.
        classes: Of its head.
        trained: On what, and how.
        preprocessing: The `Preprocessing` of its images.
        top_1: ImageNet top-1 in percent of these very weights, or None where none is published.
        source: Of `trained` and `top_1`.
        names: Of the file, without its ending, or of its repository, where others keep it; only of
            weights whose preprocessing their arrays do not tell.
    """

    url: str
    classes: int
    trained: str
    preprocessing: Preprocessing
    top_1: float | None
    source: str
    names: tuple[str, ...] = ()


_GOOGLE = TO_MINUS_ONE_ONE
_BUCKET = "https://storage.googleapis.com/mixer_models"
_HUB = "https://huggingface.co/timm"
_RELEASE = "https://github.com/microsoft/SPACH/releases/download/v1.0"

_PAPER = "https://arxiv.org/abs/2105.01601, Table 3"
_SAM_PAPER = "https://arxiv.org/abs/2106.01548"
_SAM_TABLE = "https://github.com/leondgarse/keras_cv_attention_models, mlp_family"
_GSAM_PAPER = "https://arxiv.org/abs/2203.08065"
_MIIL_PAPER = "https://arxiv.org/abs/2104.10972"
_TIMM_TABLE = "https://github.com/huggingface/pytorch-image-models, results/results-imagenet.csv"
_SPACH_TABLE = "https://github.com/microsoft/SPACH, README.md"


def _imagenet1k(size, top_1):
    url = f"{_BUCKET}/imagenet1k/Mixer-{size}.npz"
    return {"imagenet1k": Published(url, 1000, "ImageNet-1k", _GOOGLE, top_1, _PAPER)}


def _imagenet21k(size):
    url = f"{_BUCKET}/imagenet21k/Mixer-{size}.npz"
    return {"imagenet21k": Published(url, 21843, "ImageNet-21k", _GOOGLE, None, _PAPER)}


def _sam(size, top_1):
    url = f"{_BUCKET}/sam/Mixer-{size}.npz"
    return {"sam": Published(url, 1000, "ImageNet-1k, with SAM", _GOOGLE, top_1, _SAM_TABLE)}


def _gsam(size):
    url = f"{_BUCKET}/gsam/Mixer-{size}.npz"
    return {"gsam": Published(url, 1000, "ImageNet-1k, with GSAM", _GOOGLE, None, _GSAM_PAPER)}


def _miil(name, released, classes, trained, top_1, source):
    """`released` is the file's name before the hub, in timm's timm/models/mlp_mixer.py."""
    url = f"{_HUB}/mixer_b16_224.{name}/resolve/main/model.safetensors"
    names = (f"mixer_b16_224.{name}", released, released.rpartition("-")[0])
    return Published(url, classes, trained, TO_ZERO_ONE, top_1, source, names)


def _spach(size, top_1):
    url = f"{_RELEASE}/smlp_{size}.pth"
    return {"imagenet1k": Published(url, 1000, "ImageNet-1k", BY_IMAGENET, top_1, _SPACH_TABLE)}


PUBLISHED: dict[str, dict[str, Published]] = {
    "MLPMixerS32": _gsam("S_32"),
    "MLPMixerS16": _gsam("S_16"),
    "MLPMixerB32": _sam("B_32", 72.47) | _gsam("B_32"),
    "MLPMixerB16": {
        **_imagenet1k("B_16", 76.44),
        **_imagenet21k("B_16"),
        **_sam("B_16", 77.36),
        **_gsam("B_16"),
        "miil_imagenet1k": _miil(
            "miil_in21k_ft_in1k",
            "mixer_b16_224_miil-9229a591",
            1000,
            "ImageNet-21k-P, then ImageNet-1k",
            82.31,
            _TIMM_TABLE,
        ),
        "miil_imagenet21k": _miil(
            "miil_in21k",
            "mixer_b16_224_miil_in21k-2a558a71",
            11221,
            "ImageNet-21k-P",
            None,
            _MIIL_PAPER,
        ),
    },
    "MLPMixerL16": _imagenet1k("L_16", 71.76) | _imagenet21k("L_16"),
    "SMLPNetS": _spach("s", 83.1),
    "SMLPNetB": _spach("b", 83.4),
}

# Stands for the best ImageNet-1k weights of a variant, as in keras.applications.
IMAGENET = "imagenet"

_CACHE = os.path.join("models", "keras_mixers")
_log = logging.getLogger("keras_mixers")


def list_weights(pattern: str = "*") -> list[tuple[str, str]]:
    """Returns the published weights as pairs of a constructor's name and a name of weights.

    Args:
        pattern: A shell-style pattern (`fnmatch`), in any case, of the constructor's name, such as
            `"smlp*"`, or of both names with a dot between them, such as `"*.sam"`; where there are
            none such, of the name of weights, such as `"imagenet21k"`. Defaults to `"*"`.

    Returns:
        A list of `(variant, weights)` in the order of the papers, such as
        `[("SMLPNetS", "imagenet1k"), ("SMLPNetB", "imagenet1k")]`; empty if none match. What is
        known of each is in `keras_mixers.weights.PUBLISHED[variant][weights]`. `"imagenet"`, which
        stands for the best ImageNet-1k weights of a variant, is not listed.

    Raises:
        ValueError: `pattern` is no string.

    Example:

    >>> for variant, weights in keras_mixers.list_weights("smlp*"):
    ...     model = getattr(keras_mixers, variant)(weights=weights)
    """
    if not isinstance(pattern, str):
        raise ValueError(
            f'`pattern` must be a string such as "smlp*" or "*.sam". Received: pattern={pattern!r}'
        )
    every = [(variant, name) for variant, names in PUBLISHED.items() for name in names]

    def matching(*templates):
        return [
            pair
            for pair in every
            if any(
                fnmatch.fnmatchcase(template.format(*pair).lower(), pattern.lower())
                for template in templates
            )
        ]

    return matching("{0}", "{0}.{1}") or matching("{1}")


def name_of(variant: str, weights: Any) -> Any:
    """Returns what `"imagenet"` stands for; anything else as it is.

    That is the variant's ImageNet-1k weights of the highest published top-1, or the first of those
    of no published figure; `"imagenet"` itself, if it has none.
    """
    if not isinstance(weights, str) or weights != IMAGENET:
        return weights
    published = PUBLISHED.get(variant, {})
    names = [name for name, about in published.items() if about.classes == 1000]
    return max(names, key=lambda name: published[name].top_1 or 0, default=IMAGENET)


def published_row(variant: str, weights: Any) -> Published | None:
    """Returns the `Published` of a name, or None of what is no name of this variant.

    Args:
        variant: Name of the constructor.
        weights: What the user gave.
    """
    if not isinstance(weights, str):
        return None
    return PUBLISHED.get(variant, {}).get(name_of(variant, weights))


def path_of(variant: str, weights: str | os.PathLike | None) -> str | os.PathLike | None:
    """Returns the local path of published weights, fetched if need be; a path as it is.

    Args:
        variant: Name of the constructor, such as `"MLPMixerB16"`.
        weights: What the user gave.

    Raises:
        ValueError: No such weights are published for this variant, or they cannot be fetched.
    """
    if weights is None or isinstance(weights, os.PathLike) or _is_path(weights):
        return weights
    names = PUBLISHED.get(variant, {})
    name = name_of(variant, weights)
    if name not in list(names):  # Anything may come here, hashable or not.
        if isinstance(weights, str) and os.path.isdir(os.path.expanduser(weights)):
            return weights
        raise ValueError(_unknown(variant, weights))
    if name != weights:
        about = names[name].preprocessing
        _log.warning("weights: %r of %s is %r, made for %s", weights, variant, name, about)
    url = names[name].url
    return fetch(url, f"{variant}_{name}{os.path.splitext(url)[1]}")


def _unknown(variant, weights):
    names = PUBLISHED.get(variant, {})
    listed = ", ".join(map(repr, names)) or "none"
    best = name_of(variant, IMAGENET)
    if best in names:
        listed += f", or {IMAGENET!r} (here {best!r})"
    others = [other for other in PUBLISHED if _has(other, weights)]
    return (
        f"`weights` of {variant} must be None, the path of a weight file, or one of the "
        f"published: {listed}. Received: weights={weights!r}"
        + (f", which is published for {', '.join(others)}" if others else "")
    )


def _has(variant, weights):
    return name_of(variant, weights) in list(PUBLISHED[variant])


def _is_path(weights):
    """Whether this is meant as the path of a file, and not as a name."""
    if not isinstance(weights, str):
        return False
    return os.path.isfile(weights) or os.sep in weights or weights.endswith(formats.ENDINGS)


def fetch(url, name):
    """Returns the path of `name` in Keras' cache, downloaded from `url` with a progress bar.

    A file is given its name when it is whole: one cut short is never taken for it.

    Raises:
        ValueError: It cannot be fetched, and then says where to put the file by hand; or there is
            nothing to read it with.
    """
    try:
        formats.reader(os.path.splitext(name)[1])
    except formats.UnreadableFile as error:
        raise ValueError(f"`weights` cannot be read from {url}: {error}") from error
    try:
        return download.into_cache(url, _CACHE, name, _check)
    except download.DownloadError as error:
        raise ValueError(
            f"`weights` could not be fetched from {url} ({error}): try again, or put the file by "
            f"hand at {error.path}"
        ) from error


def _check(path):
    with formats.arrays_in(path):
        pass
