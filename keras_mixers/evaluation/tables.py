"""The tables of models and of published weights, as Markdown."""

_MIXER = "[Table 3](https://arxiv.org/abs/2105.01601)"
_S2 = "[as cited by PosMLP](https://github.com/Zhicaiwww/PosMLP)"
_SMLP = "[paper](https://arxiv.org/abs/2109.05422)"


# ImageNet top-1 in %, and what it was trained on, with the source. None is that of the released
# weights, in `keras_mixers.weights.PUBLISHED`; a variant without a published figure has none.
PUBLISHED_TOP1 = {
    "MLPMixerS32": ("68.70", f"JFT-300M, {_MIXER}"),
    "MLPMixerS16": ("73.83", f"JFT-300M, {_MIXER}"),
    "MLPMixerS4": ("", "not in the paper"),
    "MLPMixerB32": ("75.53", f"JFT-300M, {_MIXER}"),
    "MLPMixerB16": None,
    "MLPMixerL32": ("80.67", f"JFT-300M, {_MIXER}"),
    "MLPMixerL16": None,
    "MLPMixerH14": ("86.32", f"JFT-300M, {_MIXER}"),
    "S2MLPWide": ("", "no figure that we could check"),
    "S2MLPDeep": ("80.7", f"ImageNet-1k, {_S2}"),
    "SMLPNetT": ("81.9", f"ImageNet-1k, {_SMLP}"),
    "SMLPNetS": None,
    "SMLPNetB": None,
}


def top1(variant):
    """Returns the figure and its source, as two cells of the table."""
    if PUBLISHED_TOP1[variant] is not None:
        return PUBLISHED_TOP1[variant]
    from keras_mixers.weights import PUBLISHED

    about = PUBLISHED[variant]["imagenet1k"]
    url, *place = about.source.split(", ")
    return str(about.top_1), f"{about.trained}, [{', '.join(place) or 'source'}]({url})"


def table():
    """Returns the table of all variants at 224 x 224 with 1000 classes, as Markdown."""
    from tabulate import tabulate

    import keras_mixers
    from keras_mixers.evaluation import costs

    rows = []
    for variants in keras_mixers.VARIANTS.values():
        for variant in variants:
            with costs.without_values():
                model = variant()
                macs = f"{costs.multiply_adds(model) / 1e9:.2f} G"
                parameters = f"{costs.trainable_parameters(model):,}"
            name = variant.__name__
            rows.append((f"`{name}`", parameters, macs, *top1(name)))
    headers = ("model", "parameters", "MACs", "top-1, %", "trained on, source")
    alignment = ("left", "right", "right", "right", "left")
    return tabulate(rows, headers, "github", disable_numparse=True, colalign=alignment)


def weights():
    """Returns the published weights that `weights=` knows by name, as Markdown."""
    from tabulate import tabulate

    from keras_mixers.weights import PUBLISHED

    rows = [
        (
            f"`{variant}`",
            f'`"{name}"`',
            f"{about.classes:,}",
            about.trained,
            "" if about.top_1 is None else str(about.top_1),
            _preparation(about.preprocessing),
            f"[file]({about.url}), [source]({about.source.split(',')[0]})",
        )
        for variant, published in PUBLISHED.items()
        for name, about in published.items()
    ]
    headers = ("model", "name", "classes", "trained on", "top-1, %", "preprocessing", "")
    alignment = ("left", "left", "right", "left", "right", "left", "left")
    return tabulate(rows, headers, "github", disable_numparse=True, colalign=alignment)


def _preparation(preprocessing):
    mean, std = (
        " ".join(f"{number:g}" for number in numbers)
        for numbers in (preprocessing.mean, preprocessing.std)
    )
    return f"mean {mean}, std {std}, {preprocessing.interpolation}"
