"""What does not suit the data is changed, and said."""

import dataclasses

import pytest

from keras_mixers.training import adaptation
from keras_mixers.training.config import TrainingConfig
from tests.helpers import image_files

USUAL = TrainingConfig(batch_size=32, epochs=8, warmup_epochs=2.0, mixup=0.0)


def changed(config, other):
    names = ("batch_size", "gradient_accumulation_steps", "warmup_epochs")
    return tuple(getattr(other, name) for name in names) if other != config else None


@pytest.mark.parametrize(
    ("images", "settings", "expected"),
    [
        (32, {}, None),
        (31, {}, (30, 1, 2.0)),
        (3, {}, (2, 1, 2.0)),
        (1, {}, None),  # Refused where the steps are counted.
        (31, {"gradient_accumulation_steps": 4}, (24, 4, 2.0)),
        (7, {"gradient_accumulation_steps": 4}, (6, 1, 2.0)),
        (100, {"epochs": 2}, (32, 1, 0.5)),
        (100, {"epochs": 3}, None),
        (10, {"epochs": 1, "warmup_epochs": 32.0}, (10, 1, 0.25)),
    ],
)
def test_batch_and_warm_up_fit_into_the_training(images, settings, expected, caplog):
    config = dataclasses.replace(USUAL, **settings)
    assert changed(config, adaptation.to_size(config, images)) == expected
    assert bool(caplog.messages) == (expected is not None)


def test_a_fifth_is_held_out_where_there_is_no_validation(tmp_path, caplog):
    image_files.write_folder(tmp_path)
    config = dataclasses.replace(USUAL, data=str(tmp_path))
    assert adaptation.to_splits(config) == config
    (tmp_path / "validation").rename(tmp_path / "test")
    adapted = adaptation.to_splits(config)
    assert (adapted.train_split, adapted.validation_split) == ("train[:80%]", "train[80%:]")
    assert f"--data {tmp_path} has no split to validate on" in caplog.text
    chosen = dataclasses.replace(config, validation_split="test")
    assert adaptation.to_splits(chosen) == chosen
