import errno
import json
import os

import numpy as np
import pytest
from etils import epath

from keras_mixers.errors import RunError
from keras_mixers.training import checkpoints
from keras_mixers.training.checkpoints import Checkpoints

STATE = {
    "trainable": [np.arange(6, dtype="float32").reshape(2, 3), np.float32(3)],
    "non_trainable": [np.array([1, 2], "uint32")],
    "optimizer": [np.full((i,), i, "int64") for i in range(12)],
    "average": [],
}
ABOUT = {"config": {"epochs": 3}, "history": [{"loss": 0.1}]}


@pytest.fixture
def folder(tmp_path):
    return epath.Path(tmp_path / "checkpoints")


def test_what_is_saved_is_loaded(folder):
    Checkpoints(folder, 3).save(7, STATE, ABOUT)
    step, state, about = Checkpoints(folder, 3).load_newest(pytest.fail)
    assert (step, about) == (7, ABOUT)
    assert {*state} == {*STATE}
    for name, values in STATE.items():
        for value, same in zip(values, state[name], strict=True):
            np.testing.assert_array_equal(same, value)
            assert same.dtype == value.dtype


def test_only_the_newest_are_kept_in_the_order_of_steps(folder):
    kept = Checkpoints(folder, 2)
    for step in (9, 10, 100, 1000):
        kept.save(step, STATE, ABOUT)
    assert [path.name for path in kept.paths()] == ["step-000000100.npz", "step-000001000.npz"]
    assert kept.load_newest(pytest.fail)[0] == 1000


def test_an_empty_folder_has_none(folder):
    assert Checkpoints(folder, 2).load_newest(pytest.fail) is None


def bytes_cut(data):
    return data[: len(data) // 2]


def in_the_numbers(data):
    place = data.index(np.arange(6, dtype="float32").tobytes()) + 9
    return data[:place] + b"\xff" + data[place + 1 :]


@pytest.mark.parametrize(
    "damage", [bytes_cut, in_the_numbers, lambda _: b"", lambda _: b"no zip at all"]
)
def test_a_damaged_one_is_told_and_the_one_before_is_used(folder, damage):
    kept = Checkpoints(folder, 3)
    kept.save(1, STATE, ABOUT)
    kept.save(2, STATE, ABOUT)
    newest = kept.paths()[-1]
    newest.write_bytes(damage(newest.read_bytes()))
    told = []
    assert kept.load_newest(told.append)[0] == 1
    assert len(told) == 1
    assert f"{newest} is damaged" in told[0]
    assert "One before it is looked for" in told[0]


def test_every_flipped_bit_is_damage_or_harmless(folder):
    kept = Checkpoints(folder, 3)
    state = {name: [] for name in STATE} | {"trainable": STATE["trainable"]}
    kept.save(1, state, ABOUT)
    path = kept.paths()[0]
    data = path.read_bytes()
    for place in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(bytes(flipped))
        try:
            found, about = checkpoints.load(path)
        except RunError:
            continue
        assert about == ABOUT, place
        for name, values in state.items():
            for value, same in zip(values, found[name], strict=True):
                assert same.dtype == value.dtype, place
                np.testing.assert_array_equal(same, value, err_msg=str(place))


def test_damaged_ones_do_not_count_and_go_when_a_good_one_is_saved(folder):
    kept = Checkpoints(folder, 2)
    for step in (1, 2):
        kept.save(step, STATE, ABOUT)
    for step in (3, 4):
        (folder / f"step-{step:09d}.npz").write_bytes(b"damaged")
    kept = Checkpoints(folder, 2)
    assert kept.load_newest(lambda sentence: None)[0] == 2
    assert [path.name for path in kept.paths()] == ["step-000000001.npz", "step-000000002.npz"]
    kept.save(3, STATE, ABOUT)
    assert sorted(path.name for path in folder.iterdir()) == [
        "step-000000002.npz",
        "step-000000003.npz",
    ]
    assert Checkpoints(folder, 2).load_newest(pytest.fail)[0] == 3


def test_what_a_killed_process_had_begun_goes(folder):
    kept = Checkpoints(folder, 2)
    kept.save(1, STATE, ABOUT)
    (folder / "step-000000002.npz.part").write_bytes(b"begun")
    kept.save(3, STATE, ABOUT)
    assert not list(folder.glob("*.part"))


def test_other_files_beside_them_are_let_alone(folder):
    kept = Checkpoints(folder, 1)
    kept.save(1, STATE, ABOUT)
    (folder / "step-best.npz").write_bytes(b"mine")
    kept.save(2, STATE, ABOUT)
    assert kept.load_newest(pytest.fail)[0] == 2
    assert (folder / "step-best.npz").exists()


def test_all_damaged_is_an_end(folder):
    kept = Checkpoints(folder, 3)
    kept.save(1, STATE, ABOUT)
    kept.paths()[0].write_bytes(b"")
    with pytest.raises(RunError, match=r"All checkpoints in .* are damaged"):
        kept.load_newest(lambda sentence: None)


def test_reading_runs_no_code(folder, tmp_path):
    """A pickle inside is refused, not loaded."""
    folder.mkdir()
    path = folder / "step-000000001.npz"
    evil = np.array([open], dtype=object)
    np.savez(path, **{"trainable/0": evil, "about": np.frombuffer(json.dumps({}).encode(), "u1")})
    with pytest.raises(RunError, match="damaged"):
        checkpoints.load(path)


@pytest.mark.parametrize("moment", ["write", "replace"])
def test_a_full_disk_leaves_the_last_one(folder, monkeypatch, moment):
    kept = Checkpoints(folder, 3)
    kept.save(1, STATE, ABOUT)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if moment == "write":
        monkeypatch.setattr(np, "savez", full)
    else:
        monkeypatch.setattr(type(folder), "replace", full)
    with pytest.raises(RunError, match=r"step 2 could not be written: .*No space.*step-000000001"):
        kept.save(2, STATE, ABOUT)
    assert [path.name for path in folder.iterdir()] == ["step-000000001.npz"]
    assert kept.load_newest(pytest.fail)[0] == 1


def test_it_is_on_the_disk_before_it_has_its_name(folder, monkeypatch):
    events, sync, replace = [], os.fsync, type(folder).replace

    def note_sync(descriptor):
        size = os.fstat(descriptor).st_size
        events.append(("sync", size))
        sync(descriptor)

    def note_replace(path, target):
        events.append(("replace", path.stat().length))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(type(folder), "replace", note_replace)
    Checkpoints(folder, 3).save(1, STATE, ABOUT)
    (one, size), (two, same_size) = events
    assert (one, two) == ("sync", "replace")
    assert size == same_size > 1000


def test_a_half_written_one_is_never_seen(folder, monkeypatch):
    """As a kill leaves it: the file under its temporary name, half."""
    kept = Checkpoints(folder, 3)
    kept.save(1, STATE, ABOUT)

    class Killed(BaseException):
        pass

    def half(file, **arrays):
        file.write(b"half")
        raise Killed

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(Killed):
        kept.save(2, STATE, ABOUT)
    monkeypatch.undo()
    assert [path.name for path in kept.paths()] == ["step-000000001.npz"]
    kept.save(2, STATE, ABOUT)
    assert kept.load_newest(pytest.fail)[0] == 2


def test_into_a_bucket(tmp_path):
    """TensorFlow, by which epath writes into buckets, takes nothing but bytes."""
    import tensorflow as tf

    class InABucket:
        def __str__(self):
            return "gs://bucket/run/step-000000007.npz"

        def write_bytes(self, data):
            with tf.io.gfile.GFile(str(tmp_path / "object"), "wb") as file:
                file.write(data)

    checkpoints._write(InABucket(), {"x": np.arange(3)})
    np.testing.assert_array_equal(np.load(tmp_path / "object")["x"], np.arange(3))
