"""What tests/mutations/mutations.toml promises, without applying any of it."""

import collections

import pytest

from tests.mutations import ROOT, count, read, room

MUTATIONS = read()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one["file"])
def test_a_mutation_can_be_applied(mutation):
    assert set(mutation) == {"file", "what", "old", "new", "tests"}
    assert count(mutation) == 1
    assert mutation["new"] != mutation["old"]
    assert mutation["what"].strip()
    assert mutation["tests"]
    assert [test for test in mutation["tests"] if not (ROOT / test).is_file()] == []


def test_every_room_has_some():
    package = ROOT / "keras_mixers"
    rooms = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    found = collections.Counter(room(mutation["file"]) for mutation in MUTATIONS)
    assert {name for name, number in found.items() if number >= 3} >= {*rooms, "root", "scripts"}
    assert set(found) <= {*rooms, "root", "scripts"}
    assert len(MUTATIONS) >= 60


def test_no_two_are_the_same():
    assert len({(one["file"], one["old"], one["new"]) for one in MUTATIONS}) == len(MUTATIONS)
