"""Tables of parameters of which the default suite takes a sample."""

import itertools

import pytest


def sampled(*axes):
    """Returns all combinations of some axes; all but a sample are marked `extended`.

    In the sample, every combination of all axes but the last occurs once, with the values of the
    last one in turn.
    """
    last = len(axes[-1])
    return [
        pytest.param(
            *(axis[place] for axis, place in zip(axes, places, strict=True)),
            marks=() if sum(places) % last == 0 else pytest.mark.extended,
        )
        for places in itertools.product(*(range(len(axis)) for axis in axes))
    ]


def extended(*cases):
    """Returns cases that are marked `extended`."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.extended)
        for case in cases
    ]
