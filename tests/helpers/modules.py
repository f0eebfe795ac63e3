"""Packages that seem not to be installed."""

import importlib.util


def without_tensorflow(monkeypatch):
    """Hides TensorFlow from who asks whether it is there."""
    hide(monkeypatch, "tensorflow")


def hide(monkeypatch, *names):
    """Hides packages from who asks whether they are there."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in names else find(name, *rest),
    )
