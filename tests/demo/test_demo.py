import http.server
import json
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mixers.commands import demo
from keras_mixers.demo import description
from keras_mixers.demo import litert_js as litert_js_module
from keras_mixers.errors import UsageError
from keras_mixers.export import flatbuffer
from tests.demo.serving import ANIMALS, Serving, options, parse, tflite_of
from tests.helpers import commands

pytestmark = pytest.mark.tensorflow

ROOT = pathlib.Path(__file__).resolve().parents[2]


def describe(path, *arguments):
    return description.describe(path, **options(parse(path, *arguments)))


def refuse(arguments, capsys):
    with pytest.MonkeyPatch.context() as patch:  # What is not refused would be served for ever.
        patch.setattr(http.server.HTTPServer, "serve_forever", lambda server: None)
        return commands.refuse(demo.main, arguments, capsys)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/?from=a-link", "text/html; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/litert/core.js", "text/javascript; charset=utf-8"),
        ("/litert/wasm/litert_wasm_internal.wasm", "application/wasm"),
        ("/model.json", "application/json"),
        ("/model.tflite", "application/octet-stream"),
    ],
)
def test_serves_its_own_files(served_colors, path, kind):
    response, body = served_colors.ask("GET", path)
    assert response.status == 200
    assert response.headers["Content-Type"] == kind
    assert len(body) == int(response.headers["Content-Length"]) > 100
    head, _ = served_colors.ask("HEAD", path)
    assert head.status == 200
    assert head.headers["Content-Length"] == response.headers["Content-Length"]


def test_head_is_the_headers_alone(served_colors):
    with socket.create_connection(
        (served_colors.host, served_colors.port), timeout=5
    ) as connection:
        connection.sendall(b"HEAD /page.css HTTP/1.1\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as answer:
            assert answer.read().endswith(b"\r\n\r\n")


def test_serves_that_very_file(served_colors, of_colors):
    assert served_colors.ask("GET", "/model.tflite")[1] == of_colors.read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/../setup.cfg",
        "/../../setup.cfg",
        "/%2e%2e/%2e%2e/setup.cfg",
        "/..%2f..%2fsetup.cfg",
        "/litert/../page.js",
        "//etc/passwd",
        "page.js",
        "/node_modules/",
        "/node_modules/@litertjs/core/package.json",
        "/litert/",
        "/package.json",
        "/index.html/",
        "/etc/passwd",
    ],
)
def test_serves_nothing_else(served_colors, path):
    for method in ("GET", "HEAD"):
        response, body = served_colors.ask(method, path)
        assert response.status == 404
        assert b"keras" not in body


@pytest.mark.parametrize("path", ["/", "/model.json", "/nothing"])
def test_every_answer_has_the_headers(served_colors, path):
    headers = served_colors.ask("GET", path)[0].headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; script-src 'self' 'wasm-unsafe-eval' 'sha256-")
    assert not re.search(r"unsafe-inline|'unsafe-eval'|https?:|\*", policy)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert "frame-ancestors 'none'" in policy
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-cache"


def test_what_a_browser_has_is_not_sent_again(served_colors):
    first, body = served_colors.ask("GET", "/model.tflite")
    again, nothing = served_colors.ask("GET", "/model.tflite", If_None_Match=first.headers["ETag"])
    assert (again.status, nothing) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert served_colors.ask("GET", "/model.tflite", If_None_Match='"other"')[1] == body


def test_serves_what_was_there_at_the_start(of_colors, litert_js, tmp_path):
    path = shutil.copy(of_colors, tmp_path / "m.tflite")
    with Serving(path) as serving:
        path.write_bytes(b"another file")
        assert serving.ask("GET", "/model.tflite")[1] == of_colors.read_bytes()


def test_a_silent_connection_ends_in_silence(of_colors, litert_js, capfd):
    with Serving(of_colors) as serving:
        serving.server.RequestHandlerClass.timeout = 0.2
        with socket.create_connection((serving.host, serving.port), timeout=10) as connection:
            connection.sendall(b"HEAD /page.css HTTP/1.1\r\n\r\n")
            while connection.recv(4096):
                pass
        serving.ask("GET", "/nothing")
    error = capfd.readouterr().err
    assert "timed out" not in error
    assert "404" in error


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(served_colors, method):
    assert served_colors.ask(method, "/")[0].status == 501


def test_says_what_the_model_needs(served_colors, of_colors):
    about = json.loads(served_colors.ask("GET", "/model.json")[1])
    assert about["name"] == "tiny"
    assert about["source"] == "colors"  # And not the folders of somebody's machine.
    assert about["bytes"] == of_colors.stat().st_size
    assert about["shape"] == [32, 32, 3]
    assert about["labels"] == list(ANIMALS)
    assert about["probabilities_by"] == "sigmoid"
    assert about["eval_crop"] == 0.875
    assert about["crop_mode"] == "center"
    assert about["fill"] == pytest.approx([123.675, 116.28, 103.53])
    np.testing.assert_allclose(about["pixel_scale"], [1 / 255 / s for s in (0.229, 0.224, 0.225)])
    np.testing.assert_allclose(
        about["pixel_offset"], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    )


def test_listens_on_this_machine_alone(served_colors):
    assert parse("m.tflite").host == "127.0.0.1"
    assert served_colors.server.socket.getsockname()[0] == "127.0.0.1"


def test_command_prints_its_address_and_stops_at_once(of_colors, litert_js):
    command = [sys.executable, ROOT / "tools" / "demo.py", of_colors, "--port", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # What is started in the background of a script ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        line = process.stdout.readline().decode()
        port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/ \(stop it with Ctrl\+C\)\n", line)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            process.send_signal(signal.SIGINT)  # As Ctrl+C.
        out, error = process.communicate(timeout=10)
        assert process.returncode == 0
        assert b"Traceback" not in out + error
    finally:
        process.kill()
        process.communicate()


def test_a_run_folder(of_colors, tmp_path, capsys):
    sentence = refuse([tmp_path], capsys)
    assert sentence.endswith(f"keras-mixers imagenet made. There is neither in {tmp_path}")
    (tmp_path / "config.json").touch()
    sentence = refuse([tmp_path], capsys)
    assert sentence.endswith(f"make it by: keras-mixers export {tmp_path} {tmp_path}")
    shutil.copy(of_colors, tmp_path / "a.tflite")
    assert description.find_model(str(tmp_path)).name == "a.tflite"
    shutil.copy(of_colors, tmp_path / "b.tflite")
    assert refuse([tmp_path], capsys).endswith(f"files in {tmp_path}: a.tflite, b.tflite")
    shutil.copy(of_colors, tmp_path / "model.tflite")
    assert description.find_model(str(tmp_path)).name == "model.tflite"


def test_what_cannot_be_used_is_refused_in_one_sentence(of_colors, tmp_path, capsys, litert_js):
    assert f"nothing at {tmp_path / 'no'}" in refuse([tmp_path / "no"], capsys)
    text = tmp_path / "text.tflite"
    text.write_text("This is no model.")
    assert "MODEL must be a .tflite file or a run folder. Received" in refuse([text], capsys)
    text.write_bytes(b"")
    assert "MODEL must be a .tflite file or a run folder. Received" in refuse([text], capsys)
    assert "from 0 to 65535. Received: 65536" in refuse([of_colors, "--port", 65536], capsys)
    assert "at least 1. Received: 0" in refuse([of_colors, "--top-k", 0], capsys)
    names = tmp_path / "labels.txt"
    assert "--labels must be a text file" in refuse([of_colors, "--labels", names], capsys)
    names.write_text("cat\ndog\n")
    assert "Received: 2 names" in refuse([of_colors, "--labels", names], capsys)
    assert "this machine's" in refuse([of_colors, "--host", "192.0.2.1"], capsys)
    for host in ("", "::1"):
        sentence = refuse([of_colors, "--host", host], capsys)
        assert sentence.endswith(f"must be a name or an IPv4 address. Received: {host!r}")
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(of_colors.read_bytes()[:-30])
    assert "MODEL must be whole; copy or export it again." in refuse([cut], capsys)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        sentence = refuse([of_colors, "--port", port], capsys)
    assert "choose another --port" in sentence
    assert f"127.0.0.1:{port}: Address already in use" in sentence


def test_models_of_other_things_are_refused(tmp_path, capsys):
    path = tmp_path / "m.tflite"
    row = keras.Input((4,), batch_size=1)
    assert "(1, height, width, 1 or 3)" in refuse([tflite_of(row, row + 1, path)], capsys)
    image = keras.Input((4, 4, 3), batch_size=1)
    assert "of shape (1, classes)" in refuse([tflite_of(image, image + 1, path)], capsys)
    mean = keras.ops.mean(image, axis=(1, 2))
    sentence = refuse([tflite_of(image, [mean, mean * 2], path)], capsys)
    assert sentence.endswith("m.tflite: 1 and 2")
    image = keras.Input((4, 4, 3), batch_size=1, dtype="int32")
    total = keras.ops.sum(image, axis=(1, 2))
    sentence = refuse([tflite_of(image, total, path)], capsys)
    assert "an input of float32 or uint8, which LiteRT.js knows" in sentence


def test_without_litert_js_says_how_to_get_it(of_colors, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sentence = refuse([of_colors], capsys)
    assert "LiteRT.js is missing" in sentence
    assert sentence.endswith(f"fix it by: {litert_js_module.command()}")
    assert f"npm install --prefix {tmp_path}/keras_mixers/litert @litertjs/core@" in sentence


def test_another_litert_js_is_refused(of_colors, litert_js_folder, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "keras_mixers" / "litert" / "node_modules"
    copy.mkdir(parents=True)
    for path in (litert_js_folder / "node_modules").iterdir():
        if path.is_dir():
            (copy / path.name).symlink_to(path)
    lock = (litert_js_folder / "node_modules" / ".package-lock.json").read_text()
    (copy / ".package-lock.json").write_text(lock)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert len(litert_js_module.served()) == 8
    (copy / ".package-lock.json").write_text(lock.replace("sha512-", "sha512-other"))
    sentence = refuse([of_colors], capsys)
    assert "another @litertjs/core; fix it by: npm install" in sentence


def test_the_documents_have_the_command(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "~/.cache")
    monkeypatch.setenv("HOME", "/home/somebody")
    command = litert_js_module.command().replace("/home/somebody", "~")
    for name in ("README.md", "CONTRIBUTING.md"):
        assert f"\n{command}\n" in (ROOT / name).read_text()
    assert command in " ".join(demo.__doc__.replace("\\\n", "").split())


@pytest.mark.parametrize(
    ("activation", "by"), [("softmax", None), ("sigmoid", None), ("linear", "softmax")]
)
def test_a_file_of_another_tool(tmp_path, activation, by, caplog):
    image = keras.Input((4, 4, 3), batch_size=1)
    scores = keras.layers.Dense(7, activation)(keras.layers.Flatten()(image))
    path = tflite_of(image, scores, tmp_path / "theirs.tflite")
    about = describe(path, "--mean", 0.4, 0.5, 0.6, "--std", 0.2, 0.3, 0.4)
    assert about["name"] == "theirs"
    assert about["labels"] == list("0123456")
    assert about["probabilities_by"] == by
    assert about["eval_crop"] == 1
    assert len(set(about["pixel_scale"])) == 3
    assert caplog.messages == []
    names = tmp_path / "labels.txt"
    names.write_text("\n".join("abcdefg"))
    assert describe(path, "--labels", names)["labels"] == list("abcdefg")
    (line,) = caplog.messages
    assert line == (
        "MODEL does not say how its images are prepared; assumed: 4 x 4, central crop 1, bilinear, "
        "mean 0.5, std 0.5 (give --mean and --std if it was trained with others)"
    )
    with pytest.raises(UsageError, match="--mean and --std cannot be used: `mean` must be at most"):
        describe(path, "--mean", 127.5, "--std", 127.5)


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
def test_softmax_behind_a_conversion(tmp_path, rng):
    image = keras.Input((4, 4, 3), batch_size=1)
    scores = keras.layers.Dense(7, "softmax")(keras.layers.Flatten()(image))
    path = tflite_of(
        image,
        scores,
        tmp_path / "m.tflite",
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=lambda: [[rng.uniform(-1, 1, (1, 4, 4, 3)).astype("float32")]],
    )
    assert flatbuffer.last_operator(path.read_bytes()) == "softmax"
    assert describe(path)["probabilities_by"] is None


def test_options_override_what_the_file_says(of_colors):
    arguments = (of_colors, "--mean", 0.5, "--std", 0.5)
    np.testing.assert_allclose(describe(*arguments)["pixel_scale"], 2 / 255)


def test_prints_an_address_that_a_phone_can_open():
    assert demo._places("127.0.0.1", 80) == "http://127.0.0.1:80/"
    here, other = re.findall(r"http://([^:]+):80/", demo._places("0.0.0.0", 80))
    assert here == "127.0.0.1"
    assert other != "0.0.0.0"


def test_help_examples_parse():
    examples = re.findall("^  keras-mixers demo (.*)", demo.__doc__, re.MULTILINE)
    assert [parse(*shlex.split(line)).port for line in examples] == [8000, 0]
