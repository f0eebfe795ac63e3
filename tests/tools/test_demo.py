import http.client
import http.server
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mixers
from recipes import digits
from recipes.training.config import TrainingConfig
from recipes.training.errors import UsageError
from tests import reference
from tests.tools import commands
from tools import demo
from tools.exporting.exporter import export
from tools.exporting.origin import Origin
from tools.exporting.tflite import TFLite
from tools.litert import LiteRTModel

pytestmark = pytest.mark.tensorflow

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
ANIMALS = ("cat", "dog", "an animal whose name is longer than any telephone is wide", "eel", "<b>")


def need(what, is_there):
    """Skips a test where something is missing, but not in CI, which has everything."""
    if not is_there:
        assert not os.environ.get("CI"), f"{what} is missing"
        pytest.skip(f"needs {what}")


@pytest.fixture(scope="module")
def litert_js():
    need("LiteRT.js: npm install --prefix tools/demo_page", (demo.PAGE / "node_modules").is_dir())


@pytest.fixture(scope="module")
def of_digits(tmp_path_factory):
    """A TFLite file of a model that knows most digits, after four seconds of training."""
    keras.utils.set_random_seed(0)
    images, labels = digits.load_digits()[0]
    model = digits.build("smlpnet")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(4e-3), loss, jit_compile=False)
    model.fit(images, labels, batch_size=64, epochs=5, verbose=0)
    path = tmp_path_factory.mktemp("digits") / "smlpnet.tflite"
    config = digits.training_config("smlpnet")
    export(model, path, TFLite(), Origin("runs/digits/smlpnet", config, digits.DIGITS))
    return path


@pytest.fixture(scope="module")
def of_colours(tmp_path_factory):
    """Random weights, real scores, pictures resized by cubics and scaled as ImageNet's."""
    keras.utils.set_random_seed(1)
    model = keras_mixers.MLPMixer(
        input_shape=(32, 32, 3),
        classes=5,
        patch_size=8,
        hidden_dim=16,
        num_blocks=1,
        tokens_mlp_dim=16,
        channels_mlp_dim=16,
        classifier_activation=None,
        name="tiny",
    )
    reference.randomize(model, np.random.default_rng(0))
    path = tmp_path_factory.mktemp("colours") / "tiny.tflite"
    config = TrainingConfig(
        loss="sigmoid", pixel_range="imagenet", interpolation="bicubic", image_size=32
    )
    export(model, path, TFLite(), Origin("a test", config, ANIMALS))
    return path


def parse(*arguments):
    return demo._parse([str(argument) for argument in arguments])[1]


class Serving:
    """A demo in a thread, on any free port."""

    def __init__(self, *arguments):
        self.server = demo.make_server(parse(*arguments, "--port", 0))
        self.host, self.port = self.server.server_address
        self.url = f"http://{self.host}:{self.port}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def ask(self, method, path):
        """Sends the path as it is; returns the response and its bytes."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", f"{self.host}:{self.port}")
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, body


@pytest.fixture(scope="module")
def served(of_digits, litert_js):
    with Serving(of_digits, "--top-k", 10) as serving:
        yield serving


@pytest.fixture(scope="module")
def served_colours(of_colours, litert_js):
    with Serving(of_colours) as serving:
        yield serving


def refuse(arguments, capsys):
    with pytest.MonkeyPatch.context() as patch:  # What is not refused would be served for ever.
        patch.setattr(http.server.HTTPServer, "serve_forever", lambda server: None)
        return commands.refuse(demo.main, arguments, capsys)


# The server, without a browser.


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
def test_serves_its_own_files(served, path, kind):
    response, body = served.ask("GET", path)
    assert response.status == 200
    assert response.headers["Content-Type"] == kind
    assert len(body) == int(response.headers["Content-Length"]) > 100
    head, _ = served.ask("HEAD", path)
    assert head.status == 200
    assert head.headers["Content-Length"] == response.headers["Content-Length"]


def test_head_is_the_headers_alone(served):
    with socket.create_connection((served.host, served.port), timeout=5) as connection:
        connection.sendall(b"HEAD /page.css HTTP/1.1\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as answer:
            assert answer.read().endswith(b"\r\n\r\n")


def test_serves_that_very_file(served, of_digits):
    assert served.ask("GET", "/model.tflite")[1] == of_digits.read_bytes()


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
def test_serves_nothing_else(served, path):
    for method in ("GET", "HEAD"):
        response, body = served.ask(method, path)
        assert response.status == 404
        assert b"keras" not in body


@pytest.mark.parametrize("path", ["/", "/model.json", "/nothing"])
def test_every_answer_has_the_headers(served, path):
    headers = served.ask("GET", path)[0].headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; script-src 'self' 'wasm-unsafe-eval' 'sha256-")
    assert not re.search(r"unsafe-inline|'unsafe-eval'|https?:|\*", policy)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(served, method):
    assert served.ask(method, "/")[0].status == 501


def test_says_what_the_model_needs(served, of_digits):
    about = json.loads(served.ask("GET", "/model.json")[1])
    assert about["name"] == "smlpnet"
    assert about["source"] == "runs/digits/smlpnet"
    assert about["bytes"] == of_digits.stat().st_size
    assert about["shape"] == [8, 8, 1]
    assert about["labels"] == list(digits.DIGITS)
    assert about["probabilities_by"] == "softmax"
    np.testing.assert_allclose(about["pixel_scale"], [2 / 255])
    np.testing.assert_allclose(about["pixel_offset"], [-1])


def test_listens_on_this_machine_alone(served):
    assert parse("m.tflite").host == "127.0.0.1"
    assert served.server.socket.getsockname()[0] == "127.0.0.1"


def test_command_prints_its_address_and_stops_at_once(of_digits, litert_js):
    command = [sys.executable, ROOT / "tools" / "demo.py", of_digits, "--port", "0"]
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


def test_a_run_folder(of_digits, tmp_path, capsys):
    sentence = refuse([tmp_path], capsys)
    assert sentence.endswith(f"make it by: python tools/export.py {tmp_path} {tmp_path}")
    shutil.copy(of_digits, tmp_path / "a.tflite")
    assert demo.find_model(str(tmp_path)).name == "a.tflite"
    shutil.copy(of_digits, tmp_path / "b.tflite")
    assert refuse([tmp_path], capsys).endswith(f"files in {tmp_path}: a.tflite, b.tflite")
    shutil.copy(of_digits, tmp_path / "model.tflite")
    assert demo.find_model(str(tmp_path)).name == "model.tflite"


def tflite_of(inputs, outputs, path):
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, outputs))
    path.write_bytes(converter.convert())
    return path


def test_what_cannot_be_used_is_refused_in_one_sentence(of_digits, tmp_path, capsys, litert_js):
    assert f"nothing at {tmp_path / 'no'}" in refuse([tmp_path / "no"], capsys)
    text = tmp_path / "text.tflite"
    text.write_text("This is no model.")
    assert "MODEL must be a .tflite file or a run folder. Received" in refuse([text], capsys)
    text.write_bytes(b"")
    assert "MODEL must be a .tflite file or a run folder. Received" in refuse([text], capsys)
    assert "from 0 to 65535. Received: 65536" in refuse([of_digits, "--port", 65536], capsys)
    assert "at least 1. Received: 0" in refuse([of_digits, "--top-k", 0], capsys)
    names = tmp_path / "labels.txt"
    assert "--labels must be a text file" in refuse([of_digits, "--labels", names], capsys)
    names.write_text("cat\ndog\n")
    assert "Received: 2 names" in refuse([of_digits, "--labels", names], capsys)
    assert "this machine's" in refuse([of_digits, "--host", "192.0.2.1"], capsys)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        sentence = refuse([of_digits, "--port", port], capsys)
    assert "choose another --port" in sentence
    assert f"127.0.0.1:{port}: Address already in use" in sentence


def test_models_of_other_things_are_refused(tmp_path, capsys):
    path = tmp_path / "m.tflite"
    row = keras.Input((4,), batch_size=1)
    assert "(1, height, width, 1 or 3)" in refuse([tflite_of(row, row + 1, path)], capsys)
    picture = keras.Input((4, 4, 3), batch_size=1)
    assert "of shape (1, classes)" in refuse([tflite_of(picture, picture + 1, path)], capsys)
    mean = keras.ops.mean(picture, axis=(1, 2))
    sentence = refuse([tflite_of(picture, [mean, mean * 2], path)], capsys)
    assert sentence.endswith("m.tflite: 1 and 2")
    picture = keras.Input((4, 4, 3), batch_size=1, dtype="int32")
    total = keras.ops.sum(picture, axis=(1, 2))
    sentence = refuse([tflite_of(picture, total, path)], capsys)
    assert "an input of float32 or uint8, which LiteRT.js knows" in sentence


def test_without_litert_js_says_how_to_get_it(of_digits, tmp_path, monkeypatch):
    page = tmp_path / "demo_page"
    shutil.copytree(demo.PAGE, page, ignore=shutil.ignore_patterns("node_modules"))
    monkeypatch.setattr(demo, "PAGE", page)
    with pytest.raises(UsageError, match="mend it by: npm install --prefix"):
        demo.make_server(parse(of_digits, "--port", 0))


@pytest.mark.parametrize(("activation", "by"), [("softmax", None), ("linear", "softmax")])
def test_a_file_of_another_tool(tmp_path, activation, by):
    picture = keras.Input((4, 4, 3), batch_size=1)
    scores = keras.layers.Dense(7, activation)(keras.layers.Flatten()(picture))
    path = tflite_of(picture, scores, tmp_path / "theirs.tflite")
    about = demo.describe(path, parse(path, "--pixel-range", "imagenet"))
    assert about["name"] == "theirs"
    assert about["labels"] == list("0123456")
    assert about["probabilities_by"] == by
    assert len(set(about["pixel_scale"])) == 3
    names = tmp_path / "labels.txt"
    names.write_text("\n".join("abcdefg"))
    assert demo.describe(path, parse(path, "--labels", names))["labels"] == list("abcdefg")


def test_help_examples_parse():
    examples = re.findall("^  python tools/demo.py (.*)", demo.__doc__, re.MULTILINE)
    assert [parse(*shlex.split(line)).port for line in examples] == [8000, 0]


def test_help_needs_no_tensorflow():
    command = [sys.executable, "-X", "importtime", ROOT / "tools" / "demo.py", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "adb reverse" in run.stdout
    assert "tensorflow" not in run.stderr


# The page, in a browser.


@pytest.fixture(scope="module")
def browser(litert_js):
    try:
        from playwright import sync_api
    except ImportError:
        need("playwright", False)
    need("chromium", CHROMIUM)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Page:
    """A page of the demo, and what a person reads on it."""

    def __init__(self, browser, serving, script=None, is_ready=True, **options):
        options = {"viewport": {"width": 390, "height": 844}, **options}
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)
        if script:
            self.page.add_init_script(script)
        self.page.goto(serving.url)
        if is_ready:
            self.page.locator("body.ready").wait_for(timeout=30_000)

    def _listen(self, message):
        # LiteRT writes what it does to the console's errors.
        if message.type == "error" and not re.match(r"(INFO|WARNING): ", message.text):
            self.complaints.append(message.text)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.context.close()
        if kind is None:
            assert self.complaints == []

    def text(self, name):
        return self.page.locator(f"#{name}").inner_text()

    def upload(self, data, name="picture.png"):
        """Gives the page a file; returns when it has answered, or complained."""
        script = "for (const name of ['answer', 'status']) document.getElementById(name)"
        self.page.evaluate(script + ".textContent = '...'")
        file = {"name": name, "mimeType": "image/png", "buffer": data}
        self.page.set_input_files("#file", file)
        self.page.locator("#status:not(:text-is('...'))").wait_for(state="attached")
        self.wait()

    def wait(self):
        """Returns when the page has answered what it was asked last."""
        self.page.locator("#answer:not([aria-busy=true])").wait_for()

    def probabilities(self, labels):
        """What stands beside the bars, in the order of the classes."""
        names = self.page.locator("#bars .label").all_text_contents()
        shares = self.page.locator("#bars .percent").all_text_contents()
        found = dict(zip(names, (float(s.removesuffix(" %")) / 100 for s in shares), strict=True))
        return np.array([found[label] for label in labels])

    def seen(self):
        """The pixels that the page says the model sees, (height, width, 3)."""
        script = """canvas => [canvas.height, canvas.width, ...canvas.getContext('2d')
            .getImageData(0, 0, canvas.width, canvas.height).data]"""
        height, width, *data = self.page.locator("#seen").evaluate(script)
        return np.reshape(data, (height, width, 4))[..., :3].astype("uint8")


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


def softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def by_litert(path, pixels):
    """Probabilities of the digits' model, from pixels (8, 8, 1)."""
    images = pixels[None].astype("float32") * np.float32(2 / 255) - 1
    return softmax(LiteRTModel(path).predict(images)[0])


def test_digits_of_the_test_split_as_litert_knows_them(browser, served, of_digits):
    """All ten probabilities, to what the page rounds them to; by a file of the very pixels."""
    images, labels = digits.load_digits()[2]
    pixels = np.round((images[:12] + 1) * 127.5).astype("uint8")
    answers = []
    with Page(browser, served) as page:
        for one in pixels:
            page.upload(png(one))
            np.testing.assert_array_equal(page.seen(), np.repeat(one, 3, axis=-1))
            expected = by_litert(of_digits, one)
            np.testing.assert_allclose(page.probabilities(digits.DIGITS), expected, atol=1e-3)
            answers.append(page.text("answer"))
            assert answers[-1] == str(expected.argmax())
    assert len(set(answers)) > 4
    assert np.mean([int(a) == label for a, label in zip(answers, labels, strict=False)]) > 0.6


def strokes(image):
    """Lines between neighbouring pixels with ink, in parts of the box."""
    inked = {(y, x) for y, x in np.argwhere(image[..., 0] > 0)}
    for y, x in sorted(inked):
        near = [(y, x + 1), (y + 1, x), (y + 1, x + 1), (y + 1, x - 1)]
        for other in [place for place in near if place in inked]:
            yield [((column + 0.5) / 8, (row + 0.5) / 8) for row, column in ((y, x), other)]


def draw(page, lines):
    box = page.page.locator("#draw").bounding_box()
    for line in lines:
        (x, y), *rest = [
            (box["x"] + a * box["width"], box["y"] + b * box["height"]) for a, b in line
        ]
        page.page.mouse.move(x, y)
        page.page.mouse.down()
        for place in rest:
            page.page.mouse.move(*place)
        page.page.mouse.up()
    page.wait()


def test_a_digit_is_drawn(browser, served, of_digits):
    images, labels = digits.load_digits()[2]
    right = 0
    with Page(browser, served) as page:
        for image, label in zip(images[:3], labels[:3], strict=True):
            page.page.click("#clear")
            assert page.text("answer") == "\N{EN DASH}"
            draw(page, strokes(image))
            pixels = page.seen()[..., :1]
            ink = (image + 1) / 2
            assert np.corrcoef(pixels.ravel(), ink.ravel())[0, 1] > 0.8
            expected = by_litert(of_digits, pixels)
            np.testing.assert_allclose(page.probabilities(digits.DIGITS), expected, atol=1e-3)
            assert page.text("answer") == str(expected.argmax())
            right += page.text("answer") == str(label)
        assert re.fullmatch(r"\d+(\.\d\d)? ms", page.text("milliseconds"))
        assert page.text("size") == f"{of_digits.stat().st_size / 1e3:.0f} kB"
        assert page.text("precision") == "float32"
    assert right >= 2


def test_a_finger_draws(browser, served):
    with Page(browser, served, has_touch=True, is_mobile=True) as page:
        page.page.locator("#draw").tap()
        page.page.locator("#bars li").first.wait_for()
        assert page.seen().max() > 10


def test_dark_ink_on_light_paper(browser, served):
    image = digits.load_digits()[2][0][0]
    pixels = np.round((image + 1) * 127.5).astype("uint8")
    with Page(browser, served) as page:
        page.upload(png(255 - pixels))
        page.page.check("#invert")
        page.wait()
        np.testing.assert_array_equal(page.seen(), np.repeat(pixels, 3, axis=-1))


def test_a_model_of_integers(browser, litert_js, tmp_path):
    images, _ = digits.load_digits()[2]
    model = digits.build("mlp_mixer")
    reference.randomize(model, np.random.default_rng(0))
    path, config = tmp_path / "m.tflite", digits.training_config("mlp_mixer")
    kind = TFLite("int8-full", calibration=lambda: [images[:8]])
    export(model, path, kind, Origin("a test", config, digits.DIGITS))
    pixels = np.round((images[0] + 1) * 127.5).astype("uint8")
    expected = softmax(LiteRTModel(path).predict(pixels[None])[0])
    with Serving(path, "--top-k", 10) as serving, Page(browser, serving) as page:
        page.upload(png(pixels))
        np.testing.assert_allclose(page.probabilities(digits.DIGITS), expected, atol=2e-3)


def photograph():
    import sklearn.datasets

    return sklearn.datasets.load_sample_image("flower.jpg")  # (427, 640, 3)


def test_a_photograph_as_the_evaluation_prepares_it(browser, served_colours, of_colours):
    from recipes.training import cropping, pixels

    config = TrainingConfig(interpolation="bicubic", image_size=32)
    data = png(photograph())
    seen = cropping.central_crop(tf.constant(data), config).numpy()
    scores = LiteRTModel(of_colours).predict(np.asarray(pixels.scale(seen[None], "imagenet")))[0]
    expected = 1 / (1 + np.exp(-scores))
    with Page(browser, served_colours) as page:
        page.upload(data)
        # The two add in another order: what is just at a half is rounded up by one of them.
        assert np.abs(page.seen().astype(int) - seen).max() <= 1
        assert (page.seen() != seen).mean() < 0.01
        np.testing.assert_allclose(page.probabilities(ANIMALS), expected, atol=5e-3)
        assert page.text("answer") == ANIMALS[expected.argmax()]
    assert expected.std() > 0.05


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(5, 9), (30, 20), (64, 64)], ids=str)
def test_resizes_as_tensorflow(browser, served, interpolation, size, rng):
    plane = rng.uniform(0, 255, (23, 31)).astype("float32")
    expected = tf.image.resize(plane[..., None], size, interpolation, antialias=True)[..., 0]
    script = """async ([plane, w, h, toW, toH, kind]) => {
        const {resize} = await import('/picture.js');
        return Array.from(resize(plane, w, h, toW, toH, kind)); }"""
    with Page(browser, served) as page:
        sides = [31, 23, size[1], size[0]]
        got = page.page.evaluate(script, [plane.ravel().tolist(), *sides, interpolation])
    np.testing.assert_allclose(np.reshape(got, size), expected, atol=1e-3)


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("kind", ["served", "served_colours"])
def test_nothing_is_wider_than_the_screen(browser, kind, width, request):
    view = {"width": width, "height": 740 if width == 360 else 800}
    with Page(browser, request.getfixturevalue(kind), viewport=view) as page:
        page.upload(png(photograph()))
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        for name in ("clear", "camera", "bars", "answer", "seen"):
            box = page.page.locator(f"#{name}").bounding_box()
            assert box is None or box["x"] + box["width"] <= width


def test_names_are_text(browser, served_colours):
    with Page(browser, served_colours) as page:
        page.upload(png(photograph()))
        assert "<b>" in page.page.locator("#bars .label").all_text_contents()


def test_nothing_comes_from_elsewhere(browser, served):
    with Page(browser, served) as page:
        page.upload(png(photograph()))
        assert page.page.evaluate("crossOriginIsolated")
        # And the policy would forbid it.
        script = "fetch('http://127.0.0.2:9/').then(() => 'loaded', () => 'refused')"
        before = list(page.requests)
        assert page.page.evaluate(script) == "refused"
        (complaint, *_), page.complaints = page.complaints, []
        assert "Content Security Policy" in complaint
    assert all(url.startswith((served.url, "data:")) for url in before)
    assert served.url + "model.tflite" in before


def test_what_is_no_picture(browser, served):
    with Page(browser, served) as page:
        page.upload(b"no picture", "letter.png")
        assert page.text("status") == "This is no picture that the browser can read: letter.png"
        page.upload(png(photograph()))
        assert page.text("status") == ""


def status_of(page):
    page.page.locator("#status.error").wait_for()
    return page.text("status")


def test_without_webassembly(browser, served):
    with Page(browser, served, "delete window.WebAssembly", is_ready=False) as page:
        assert status_of(page).startswith("This browser has no WebAssembly")


def test_a_model_that_is_gone(browser, of_digits, litert_js, tmp_path):
    path = shutil.copy(of_digits, tmp_path / "m.tflite")
    with Serving(path) as serving:
        os.remove(path)
        with Page(browser, serving, is_ready=False) as page:
            assert status_of(page).startswith("The model cannot be loaded: ")
            page.complaints = [c for c in page.complaints if "404" not in c]


NO_MEDIA = "Object.defineProperty(navigator, 'mediaDevices', {value: undefined})"
INSECURE = NO_MEDIA + "; Object.defineProperty(window, 'isSecureContext', {value: false})"
REFUSED = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', '%s'); }"


@pytest.mark.parametrize(
    ("script", "beginning"),
    [
        (NO_MEDIA, "This browser has no camera for pages"),
        (INSECURE, "Browsers give the camera only to pages of https:// and http://localhost"),
        (REFUSED % "NotAllowedError", "The camera was refused"),
        (REFUSED % "NotFoundError", "This machine has no camera"),
    ],
    ids=["no-media", "insecure", "refused", "none"],
)
def test_without_a_camera(browser, served, script, beginning):
    with Page(browser, served, script) as page:
        page.page.click("#camera")
        assert status_of(page).startswith(beginning)


WATCH = """
const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (asked) => (window.stream = await get(asked));
"""


def test_the_camera_gives_answers_and_is_released(browser, served_colours):
    with Page(browser, served_colours, WATCH) as page:
        page.page.click("#camera")
        page.page.locator("#bars li").first.wait_for()
        assert page.text("camera") == "Stop"
        first = page.seen()
        assert len(np.unique(first)) > 5
        tries = (page.page.wait_for_timeout(100) or page.seen() for _ in range(100))
        assert any((seen != first).any() for seen in tries)
        page.page.click("#camera")
        assert page.text("camera") == "Camera"
        ended = "stream.getTracks().every((track) => track.readyState === 'ended')"
        assert page.page.evaluate(ended)
        page.wait()
        last = page.seen()
        page.page.wait_for_timeout(500)
        np.testing.assert_array_equal(page.seen(), last)


def test_the_keyboard_reaches_every_control(browser, served):
    with Page(browser, served) as page:
        reached = []
        for _ in range(3):
            page.page.keyboard.press("Tab")
            reached.append(page.page.evaluate("document.activeElement.id"))
        assert reached == ["clear", "file", "camera"]
        page.page.keyboard.press("Enter")
        page.page.locator("#bars li").first.wait_for()
        page.page.keyboard.press("Enter")
        assert page.text("camera") == "Camera"
