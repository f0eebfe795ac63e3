"""What docs/architecture.md says of private APIs is what the files have."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
# What a file must not have without being in a row with that name; in a group, the name.
PRIVATE = re.compile(
    r"tf\.raw_ops\.(\w+)|os\.(_exit)|sys\.(meta_path)|(schema_py_generated)|jax\._src[\w.]*\.(\w+)"
    r"|import (ctypes)|tf\.random\.experimental\.(\w+)"
)


def tables():
    """The rows of private APIs: `(names, files)`; names are the last parts, as code has them."""
    section = PAGE.partition("## Private and unusual APIs")[2]
    for line in re.findall(r"^\| (?!what |---)(.+) \|$", section, re.MULTILINE):
        what, where, *_ = line.split(" | ")
        files = [ROOT / "keras_mixers" / name for name in re.findall(r"`([\w/]+\.py)`", where)]
        yield [name.rpartition(".")[2] for name in re.findall(r"`([^`]+)`", what)], files


ROWS = list(tables())


@pytest.mark.parametrize(("names", "files"), ROWS, ids=[names[0] for names, _ in ROWS])
def test_the_files_of_a_private_api_have_its_name(names, files):
    assert files
    texts = [path.read_text() for path in files]
    for name in names:
        assert any(name in text for text in texts), name
    for path, text in zip(files, texts, strict=True):
        assert any(name in text for name in names), path


def test_no_private_api_is_left_out():
    listed = {(name, path) for names, files in ROWS for name in names for path in files}
    for path in (ROOT / "keras_mixers").rglob("*.py"):
        for match in PRIVATE.finditer(path.read_text()):
            assert (match[match.lastindex], path) in listed, match[0]


def test_the_glossary_has_each_word_once():
    section = PAGE.partition("## Glossary")[2].partition("\n## ")[0]
    words = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)
    assert sorted(set(words)) == sorted(words)
    assert len(words) > 20
