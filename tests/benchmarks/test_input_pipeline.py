import dataclasses
import re

import pytest

from benchmarks import input_pipeline, jpeg_digits
from tests.helpers import image_files

pytestmark = pytest.mark.tensorflow

SMALL = ["--image-size", "32", "--batch-size", "4", "--rounds", "1", "--seconds", "0.1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("images") / "out"
    assert jpeg_digits.main([str(out), "--train", "20", "--validation", "10"]) == 0
    return out / "folder"


@pytest.mark.extended
def test_prices(folder, capsys):
    """Every line of the table is measured: each pipeline is one that works."""
    assert input_pipeline.main([str(folder), *SMALL]) == 0
    output = capsys.readouterr().out
    assert "32 px, batches of 4, 1 rounds of 0.1 s each" in output
    lines = [line for line in output.splitlines() if line.startswith("|")][2:]
    names = [line.split("|")[1].strip() for line in lines]
    assert names[:2] == ["ceiling: bare decoding", "ours: random crops"]
    assert names[2:] == [f"+ {name}" for name in input_pipeline.PRICES]
    for line in lines:
        assert int(line.split("|")[2].replace(",", "")) > 10, line


def test_each_price_is_of_something():
    plain = input_pipeline.plain_config(32, 4)
    for name, changes in input_pipeline.PRICES.items():
        assert dataclasses.replace(plain, **changes) != plain, name


def test_table_by_hand():
    found = {"top": [1000, 2000, 4000], "plain": [800, 1000, 2000], "more": [400, 500, 2000]}
    lines = input_pipeline.table(found, "top", "plain").splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells == [
        ["top", "2,000", "1,000, 4,000", "1.00", ""],
        ["plain", "1,000", "800, 2,000", "0.50", ""],
        ["more", "500", "400, 2,000", "0.40", "1,000 (0 to 1,250)"],
    ]


@pytest.mark.slow
def test_memory(folder, capsys):
    from keras_mixers.data.sources import open_source

    input_pipeline.watch_memory(open_source(str(folder), "", "train"), 200)
    output = capsys.readouterr().out
    rows = [line.split("|")[1:3] for line in output.splitlines() if re.match(r"\| \d", line)]
    assert [int(step.replace(",", "")) for step, _ in rows] == [*range(20, 201, 20)]
    assert all(int(megabytes.replace(",", "")) > 100 for _, megabytes in rows)
    assert re.search(r"from a quarter of the way to the end: [+-]\d+ MB", output)


def test_images_that_are_no_jpeg(tmp_path, capsys):
    folder = image_files.write_folder(tmp_path)
    path = next((folder / "train").rglob("*.jpg"))
    data = path.read_bytes()
    # What is no image, and one whose head is good.
    for content in (b"nothing", data[: len(data) // 2]):
        path.write_bytes(content)
        with pytest.raises(SystemExit) as end:
            input_pipeline.main([str(folder), *SMALL])
        assert end.value.code == 2
        error = capsys.readouterr().err
        assert "images must be JPEG files" in error
        assert error.strip().endswith(f"Received: {path}")
        assert "{{" not in error
    for path in (folder / "train" / "bee").rglob("*.jpg"):
        path.write_bytes(data[: len(data) // 2])
    assert input_pipeline.main([str(folder), *SMALL, "--memory", "1000"]) == 1
    assert "more than the 1 that are allowed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--batch-size", "3"], "argument --batch-size: must be even, for MixUp. Received: 3"),
        (["--seconds", "0"], "argument --seconds: must be greater than 0. Received: 0"),
        (["--memory", "10"], "argument --memory: must be 1000 or more. Received: 10"),
        (["--split", "dawn"], "argument data: "),
    ],
)
def test_refused(folder, arguments, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        input_pipeline.main([str(folder), *arguments])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert sentence in error.strip().splitlines()[-1]
    assert "Traceback" not in error
