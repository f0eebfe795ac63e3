import pytest

from keras_mixers.data import unreadable_images
from keras_mixers.errors import RunError
from keras_mixers.training.config import TrainingConfig


class Images:
    """Ten images, of which those with a reason cannot be read."""

    def __init__(self, reasons):
        self._reasons = reasons

    def __len__(self):
        return 10

    def name(self, index):
        return f"{index}.jpg"

    def why_unreadable(self, index, config):
        return self._reasons.get(index, "")


def test_every_mark_but_that_of_readable_images_is_an_index():
    assert unreadable_images.indices([[-1, 0], [[3], [-1]], [0]]) == {0, 3}


def test_as_many_as_the_share_are_allowed():
    unreadable_images.require_few(Images({}), [0, 1], "train", 0.2)
    with pytest.raises(RunError, match=r"^3 of 10 images of train .*\(0\.jpg, 1\.jpg, 2\.jpg\)"):
        unreadable_images.require_few(Images({}), [0, 1, 2], "train", 0.2)


def test_each_is_noted_once_and_counts_for_its_split():
    run, said, written = (
        unreadable_images.UnreadableImages(TrainingConfig(max_unreadable=0.1)),
        [],
        [],
    )
    images, tell = Images({0: "cut short", 4: "cut short"}), (said.append, written.append)
    run.note(images, {0, 7}, "train", *tell)
    run.note(images, {0}, "train", *tell)
    run.note(images, {4}, "validation", *tell)
    assert written == ["0.jpg: cut short", "4.jpg: cut short"]
    assert "Skipped once: 7.jpg; it can be read now." in said
    again = unreadable_images.UnreadableImages(TrainingConfig(max_unreadable=0.1))
    again.load_state(run.state())
    assert again.lines() == run.lines() == written
    with pytest.raises(RunError):
        again.note(images, {4}, "train", *tell)
