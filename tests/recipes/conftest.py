import pytest

from tests.recipes import command, pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pictures.write_folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    assert command.run(folder, out) == 0
    return out
