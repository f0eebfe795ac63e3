import base64
import dataclasses
import json
import re
import shutil
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mixers.commands import digits
from keras_mixers.data import digits as digits_data
from keras_mixers.evaluation.litert import LiteRTModel
from keras_mixers.export.exporter import export
from keras_mixers.export.origin import Origin
from keras_mixers.export.tflite import TFLite
from tests import reference
from tests.demo.serving import ANIMALS, PREPROCESSING, Serving, need
from tests.helpers import image_files
from tests.helpers.sampling import extended, sampled

pytestmark = pytest.mark.tensorflow

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


@pytest.fixture
def of_digits(digits_run):
    """A TFLite file of a model that knows most digits."""
    return digits_run / "model.tflite"


@pytest.fixture(scope="module")
def served(digits_run, litert_js):
    with Serving(digits_run / "model.tflite", "--top-k", 10) as serving:
        yield serving


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

    def __init__(
        self, browser, serving, script=None, is_ready=True, missing=None, model_json=None, **options
    ):
        options = {"viewport": {"width": 390, "height": 844}, **options}
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)
        if script:
            self.page.add_init_script(script)
        if missing:
            self.page.route(f"**/{missing}", lambda route: route.fulfill(status=404))
        if model_json:
            self.page.route("**/model.json", lambda route: route.fulfill(body=model_json))
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

    def upload(self, data, name="image.png"):
        """Gives the page a file; returns when it has answered, or complained."""
        script = "for (const name of ['answer', 'status']) document.getElementById(name)"
        self.page.evaluate(script + ".textContent = '...'")
        file = {"name": name, "mimeType": "image/png", "buffer": data}
        self.page.set_input_files("#file", file)
        self.page.locator("#status:not(:text-is('...'))").wait_for(state="attached")
        self.wait()

    def until(self, condition):
        """As wait_for_function, which the policy of the page forbids."""
        look = f"const look = () => (({condition}) ? go() : setTimeout(look, 5)); look();"
        self.page.evaluate(f"new Promise((go) => {{ {look} }})")

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

    def box(self):
        """What is in the box, (480, 480, 3)."""
        script = """canvas => { let text = '';
            for (const byte of canvas.getContext('2d').getImageData(0, 0, 480, 480).data) {
              text += String.fromCharCode(byte);
            }
            return btoa(text); }"""
        data = base64.b64decode(self.page.locator("#draw").evaluate(script))
        return np.frombuffer(data, "uint8").reshape(480, 480, 4)[..., :3]

    def drop(self, *images):
        """Drops files of these bytes; returns whether the browser stays on the page."""
        script = """files => { const data = new DataTransfer();
            files.forEach((file, i) => data.items.add(new File(
                [Uint8Array.from(atob(file), (c) => c.charCodeAt(0))], `${i}.png`)));
            return !document.querySelector('#stage').dispatchEvent(new DragEvent('drop',
                {bubbles: true, cancelable: true, dataTransfer: data})); }"""
        return self.page.evaluate(script, [base64.b64encode(one).decode() for one in images])

    def style(self, selector, name):
        script = "(element, name) => getComputedStyle(element)[name]"
        return self.page.locator(selector).first.evaluate(script, name)


@pytest.fixture(scope="module")
def own_page(browser, served_colors):
    """A page for what is asked of its modules, which leaves it as it is."""
    with Page(browser, served_colors) as page:
        yield page


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


def softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def by_litert(path, pixels):
    """Probabilities of the digits' model, from pixels (8, 8, 1)."""
    return softmax(LiteRTModel(path).predict(pixels[None].astype("float32"))[0])


def bars(page):
    """Widths of the bars, of the whole."""
    script = """tracks => tracks.map((track) => track.firstChild.getBoundingClientRect().width
        / track.getBoundingClientRect().width)"""
    return page.page.locator("#bars .track").evaluate_all(script)


def test_digits_of_the_test_split_as_litert_knows_them(browser, served, of_digits):
    """All ten probabilities, to what the page rounds them to; by a file of the very pixels."""
    images, labels = digits_data.load()[2]
    pixels = np.round(images[:12]).astype("uint8")
    answers = []
    with Page(browser, served) as page:
        for one in pixels:
            page.upload(png(one))
            np.testing.assert_array_equal(page.seen(), np.repeat(one, 3, axis=-1))
            expected = by_litert(of_digits, one)
            np.testing.assert_allclose(page.probabilities(digits_data.CLASSES), expected, atol=1e-3)
            np.testing.assert_allclose(bars(page), np.sort(expected)[::-1], atol=0.02)
            answers.append(page.text("answer"))
            assert answers[-1] == str(expected.argmax())
    assert len(set(answers)) > 4
    assert np.mean([int(a) == label for a, label in zip(answers, labels, strict=False)]) > 0.6


def strokes(image):
    """Lines between neighboring pixels with ink, in parts of the box."""
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
    images, labels = digits_data.load()[2]
    right = 0
    with Page(browser, served) as page:
        for image, label in zip(images[:3], labels[:3], strict=True):
            page.page.click("#clear")
            assert page.text("answer") == "\N{EN DASH}"
            draw(page, strokes(image))
            pixels = page.seen()[..., :1]
            assert np.corrcoef(pixels.ravel(), image.ravel())[0, 1] > 0.8
            expected = by_litert(of_digits, pixels)
            np.testing.assert_allclose(page.probabilities(digits_data.CLASSES), expected, atol=1e-3)
            assert page.text("answer") == str(expected.argmax())
            right += page.text("answer") == str(label)
        assert re.fullmatch(r"\d+(\.\d\d)? ms", page.text("milliseconds"))
        assert page.text("precision") == "float32"
    assert right >= 2


def test_a_finger_draws(browser, served):
    """And does not scroll."""
    view = {"width": 740, "height": 340}
    with Page(browser, served, has_touch=True, is_mobile=True, viewport=view) as page:
        assert page.style("#draw", "touchAction") == "none"
        box = page.page.locator("#draw").bounding_box()
        x, bottom = box["x"] + box["width"] / 2, box["y"] + 0.9 * box["height"]
        swipe(page, x, bottom, box["y"] + 0.1 * box["height"])
        page.page.locator("#bars li").first.wait_for()
        page.wait()
        inked = (page.seen()[..., 0] > 10).any(1)
        assert inked.sum() >= 6
        assert page.page.evaluate("scrollY") == 0


def swipe(page, x, start, end):
    client = page.page.context.new_cdp_session(page.page)
    for kind, y in [
        ("touchStart", start),
        *(("touchMove", start + (end - start) * i / 8) for i in range(1, 9)),
        ("touchEnd", None),
    ]:
        points = [] if y is None else [{"x": x, "y": y}]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_a_quick_hand_is_followed_between_two_frames(browser, served):
    with Page(browser, served, COALESCED) as page:
        draw(page, [[(0.1, 0.1), (0.9, 0.9)]])
        assert page.box()[96, 384].max() == 255  # The corner, where the mouse itself never was.


COALESCED = """
PointerEvent.prototype.getCoalescedEvents = function () {
  const {left, top, width, height} = document.getElementById('draw').getBoundingClientRect();
  const at = (x, y) => ({clientX: left + x * width, clientY: top + y * height});
  return this.type === 'pointermove' ? [at(0.8, 0.2), this] : [];
};
"""


def test_dark_ink_on_light_paper(browser, served):
    image = digits_data.load()[2][0][0]
    pixels = np.round(image).astype("uint8")
    with Page(browser, served) as page:
        page.upload(png(255 - pixels))
        page.page.check("#invert")
        page.wait()
        np.testing.assert_array_equal(page.seen(), np.repeat(pixels, 3, axis=-1))
        draw(page, [[(0.5, 0.2), (0.5, 0.8)]])
        assert page.seen()[0, 0].max() == 0  # What is drawn is light on dark already.


def test_a_model_of_integers(browser, litert_js, tmp_path):
    """By sigmoid, so that the zero of its scores counts; three bars of ten."""
    images, _ = digits_data.load()[2]
    model = digits.build("mlp_mixer")
    reference.randomize(model, np.random.default_rng(0))
    config = dataclasses.replace(digits.training_config("mlp_mixer"), loss="sigmoid")
    path = tmp_path / "m.tflite"
    kind = TFLite("int8-full", calibration=lambda: [images[:8]])
    export(model, path, kind, Origin("a test", config, digits_data.CLASSES))
    pixels = np.round(images[0]).astype("uint8")
    expected = 1 / (1 + np.exp(-LiteRTModel(path).predict(pixels[None])[0]))
    best = np.argsort(-expected)[:3]
    with Serving(path, "--top-k", 3) as serving, Page(browser, serving) as page:
        page.upload(png(pixels))
        assert page.page.locator("#bars li").count() == 3
        shares = page.page.locator("#bars .percent").all_text_contents()
        found = [float(share.removesuffix(" %")) / 100 for share in shares]
        np.testing.assert_allclose(found, expected[best], atol=2e-3)


def test_several_labels_are_those_that_reach_their_thresholds(browser, served, of_digits):
    pixels = np.round(digits_data.load()[2][0][0]).astype("uint8")
    found = by_litert(of_digits, pixels)
    names = [digits_data.CLASSES[i] for i in np.argsort(-found)]
    wanted = {names[0], names[8]}

    def served_with(thresholds):
        about = json.loads(urllib.request.urlopen(f"{served.url}model.json").read())
        about |= {"top_k": 1, "thresholds": [thresholds(name) for name in about["labels"]]}
        return json.dumps(about)

    for thresholds, answer, bars_shown in (
        (lambda name: 0.0 if name in wanted else 1.1, f"{names[0]}, {names[8]}", 2),
        (lambda name: 1.1, "none of the labels", 1),
    ):
        with Page(browser, served, model_json=served_with(thresholds)) as page:
            page.upload(png(pixels))
            assert page.text("answer") == answer
            assert page.page.locator("#bars li").count() == bars_shown


def photograph():
    import sklearn.datasets

    return sklearn.datasets.load_sample_image("flower.jpg")  # (427, 640, 3)


def test_a_photograph_as_the_evaluation_prepares_it(browser, served_colors, of_colors):
    data = png(photograph())
    seen = PREPROCESSING.pixels(data)
    scores = LiteRTModel(of_colors).predict(PREPROCESSING.scale(seen[None]))[0]
    expected = 1 / (1 + np.exp(-scores))
    with Page(browser, served_colors) as page:
        page.upload(data)
        # The two add in another order: what is just at a half is rounded up by one of them.
        assert np.abs(page.seen().astype(int) - seen).max() <= 1
        assert (page.seen() != seen).mean() < 0.01
        np.testing.assert_allclose(page.probabilities(ANIMALS), expected, atol=5e-3)
        assert page.text("answer") == ANIMALS[expected.argmax()]
        # Names are text, not HTML.
        assert "<b>" in page.page.locator("#bars .label").all_text_contents()
    assert expected.std() > 0.05


def test_a_photograph_that_is_stored_turned(browser, served_colors):
    """Browsers turn it, and so does the evaluation; JPEG's decoders differ a little."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = image_files.encode(photograph(), "JPEG", exif=exif, quality=95, subsampling=0)
    plain = image_files.encode(photograph(), "JPEG", quality=95, subsampling=0)
    seen = PREPROCESSING.pixels(stored).astype(int)
    with Page(browser, served_colors) as page:
        page.upload(stored)
        assert np.abs(page.seen() - seen).mean() < 2
        page.upload(plain)
        assert np.abs(page.seen() - seen).mean() > 10


def test_what_is_transparent_is_white(browser, served_colors):
    image = np.zeros((90, 90, 4), "uint8")
    with Page(browser, served_colors) as page:
        page.upload(png(image))
        assert page.seen().min() == 255
        assert page.box().min() == 255


def test_the_box_shows_what_the_model_sees(browser, served_colors):
    """The central 7/8, to the pixel, of which 262.5 are rounded to the even number."""
    image = np.zeros((300, 500, 3), "uint8")
    image[19 : 19 + 262, 119 : 119 + 262] = 255
    with Page(browser, served_colors) as page:
        page.upload(png(image))
        assert page.box()[4:-4, 4:-4].min() == 255  # Smoothing may look over the edge.
        assert page.seen().min() == 255
        script = """async () => (await import('/image.js')).windowOf(
            500, 300, {eval_crop: 0.875, crop_mode: 'center', shape: [32, 32, 3]})"""
        window = {"width": 262, "height": 262, "left": 119, "top": 19}
        assert page.page.evaluate(script) == window


@pytest.mark.parametrize("mode", ["center", "squash", "pad"])
@pytest.mark.parametrize("size", [(427, 640), *extended(((300, 300),), ((201, 67),))], ids=str)
def test_an_image_of_another_aspect_ratio(own_page, size, mode):
    """A model that is not square sees a crop of its own aspect ratio, or all of an image."""
    image = photograph()[: size[0], : size[1]]
    changes = {"image_size": (16, 64), "crop_mode": mode, "mean": (0.2, 0.4, 0.6)}
    expected = dataclasses.replace(PREPROCESSING, std=(0.5,) * 3, **changes).pixels(png(image))
    about = {"shape": [16, 64, 3], "eval_crop": 0.875, "crop_mode": mode}
    about |= {"interpolation": "bicubic", "fill": [51, 102, 153]}
    script = """async ([data, about]) => {
        const {seenPart, toPixels} = await import('/image.js');
        const blob = new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))]);
        const image = await createImageBitmap(blob);
        const part = seenPart(image, image.width, image.height, about);
        return Array.from(toPixels(part, about, false)); }"""
    data = base64.b64encode(png(image)).decode()
    found = np.reshape(own_page.page.evaluate(script, [data, about]), (16, 64, 3))
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.01


def test_gray_as_tensorflow_makes_it(browser, served):
    with Page(browser, served) as page:
        for color in np.eye(3, dtype="uint8") * 255:
            page.upload(png(np.broadcast_to(color, (16, 16, 3))))
            gray = tf.image.rgb_to_grayscale(color[None, None].astype("float32")).numpy()
            assert np.abs(page.seen() - gray).max() <= 0.6


def test_large_pictures_are_read_smaller(own_page):
    script = """async () => { const {seenPart} = await import('/image.js');
        const canvas = Object.assign(document.createElement('canvas'), {width: 9, height: 9});
        const about = {eval_crop: 1, crop_mode: 'center', shape: [32, 32, 3]};
        return seenPart(canvas, 5000, 5000, about).width; }"""
    assert own_page.page.evaluate(script) == 2048


@pytest.mark.parametrize(
    ("size", "interpolation"), sampled([(5, 9), (30, 20), (64, 64)], ["bilinear", "bicubic"])
)
def test_resizes_as_tensorflow(own_page, interpolation, size, rng):
    plane = rng.uniform(0, 255, (23, 31)).astype("float32")
    expected = tf.image.resize(plane[..., None], size, interpolation, antialias=True)[..., 0]
    script = """async ([plane, w, h, toW, toH, kind]) => {
        const {resize} = await import('/image.js');
        return Array.from(resize(plane, w, h, toW, toH, kind)); }"""
    sides = [31, 23, size[1], size[0]]
    got = own_page.page.evaluate(script, [plane.ravel().tolist(), *sides, interpolation])
    np.testing.assert_allclose(np.reshape(got, size), expected, atol=1e-3)


SCREENS = [(360, 640), (390, 844), (640, 360), (740, 340), (1280, 800)]


def check_layout(page, width, height):
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    stage = page.page.locator("#stage").bounding_box()
    assert 0.4 * min(width, height) < stage["height"] <= min(0.9 * height, 480)
    assert abs(stage["width"] - stage["height"]) < 1
    script = """card => [...card.querySelectorAll('*')].every((one) => {
        const [a, b] = [one.getBoundingClientRect(), card.getBoundingClientRect()];
        return !a.width || one.closest('.track span') || one.id === 'file'
            || (a.left >= b.left && a.right <= b.right && a.bottom <= b.bottom + 1); })"""
    assert page.page.locator("section").evaluate_all(f"cards => cards.every({script})")


@pytest.mark.parametrize("kind", ["served_colors", *extended("served")])
def test_everything_fits_the_screen(browser, kind, request):
    with Page(browser, request.getfixturevalue(kind)) as page:
        page.upload(png(photograph()[::4, ::4]))
        for width, height in SCREENS:
            page.page.set_viewport_size({"width": width, "height": height})
            check_layout(page, width, height)
            left, right = (one.bounding_box() for one in page.page.locator("section").all())
            assert (left["y"] == right["y"]) == (width > height)


@pytest.mark.parametrize(
    ("letters", "width"), [(16, 280), (32, 360), *extended((20, 360), (24, 360))]
)
def test_large_letters_fit_the_screen(browser, served, letters, width):
    with Page(browser, served, viewport={"width": width, "height": 640}) as page:
        page.page.evaluate(f"document.documentElement.style.fontSize = '{letters}px'")
        draw(page, [[(0.5, 0.2), (0.5, 0.8)]])
        check_layout(page, width, 640)


def test_dark_and_forced_colors(browser, served):
    with Page(browser, served, color_scheme="light") as page:
        draw(page, [[(0.5, 0.2), (0.5, 0.8)]])
        light = page.style("body", "backgroundColor")
        page.page.emulate_media(color_scheme="dark")
        assert page.style("body", "backgroundColor") != light
        page.page.emulate_media(forced_colors="active")
        track, bar = (
            page.style(f"#bars {one}", "backgroundColor") for one in (".track", ".track span")
        )
        assert track != bar


def test_sizes_and_times(browser, served_colors, of_colors):
    with Page(browser, served_colors, CLOCK) as page:
        page.upload(png(photograph()[::4, ::4]))
        assert page.text("milliseconds") == "32 ms"
        assert page.text("size") == f"{of_colors.stat().st_size / 1e3:.0f} kB"
        assert page.text("runtime") == "LiteRT.js on the CPU, with threads"
    with Page(browser, served_colors, LARGER, is_ready=False) as page:
        assert status_of(page).endswith("model.tflite is cut short; reload the page")
        assert page.text("size") == "12.3 MB"


LARGER = """
const get = fetch;
window.fetch = async (name) => (name !== 'model.json' ? get(name)
    : new Response(JSON.stringify({...await (await get(name)).json(), bytes: 12345678})));
"""

# What model.js asks is 32 milliseconds later than what it asked before.
CLOCK = """
let clock = 0;
const now = performance.now.bind(performance);
performance.now = () => (new Error().stack.includes('/model.js') ? (clock += 32) : now());
"""


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
        page.upload(b"no image", "letter.png")
        assert page.text("status") == "This is no image that the browser can read: letter.png"
        page.upload(png(photograph()))
        assert page.text("status") == ""


def test_files_are_dropped(browser, served_colors):
    light, dark = (png(np.full((40, 40, 3), gray, "uint8")) for gray in (250, 5))
    with Page(browser, served_colors) as page:
        assert page.drop(light)
        page.page.locator("#bars li").first.wait_for()
        page.wait()
        assert page.seen().min() == 250
        page.drop(dark, light)
        page.page.locator("#status:text-is('Of 2 files, the first: 0.png')").wait_for()
        page.wait()
        assert page.seen().max() == 5
        assert page.drop()
        assert status_of(page).startswith("What was dropped is no file")


def test_a_file_dropped_early_does_not_leave_the_page(browser, served):
    with Page(browser, served, "delete window.WebAssembly", is_ready=False) as page:
        status_of(page)
        assert page.drop(b"an image")


SLOW = """
const read = createImageBitmap;
window.waiting = [];
window.createImageBitmap = async (file) => {
  await new Promise((go) => waiting.push(go));
  return read(file);
};
"""


def test_the_last_file_wins(browser, served):
    light, dark = (png(np.full((40, 40, 3), gray, "uint8")) for gray in (250, 5))
    with Page(browser, served, SLOW) as page:
        page.drop(light)
        page.drop(dark)
        page.page.evaluate("waiting[1]()")
        page.page.locator("#bars li").first.wait_for()
        page.page.evaluate("waiting[0](), new Promise((go) => setTimeout(go, 100))")
        page.wait()
        assert page.seen().max() == 5
        page.drop(light)
        page.page.click("#clear")
        page.page.evaluate("waiting[2](), new Promise((go) => setTimeout(go, 100))")
        assert page.text("answer") == "\N{EN DASH}"
        assert page.page.locator("#hint").is_visible()


HOLD = """
window.frame = requestAnimationFrame;
window.held = [];
window.requestAnimationFrame = (go) => (window.hold ? held.push(go) : frame(go));
"""


def test_the_last_picture_wins(browser, served):
    light, dark = (png(np.full((40, 40, 3), gray, "uint8")) for gray in (250, 5))
    with Page(browser, served, HOLD) as page:
        page.page.evaluate("window.hold = true")
        page.drop(light)
        page.until("held.length")  # The loop is between two answers.
        page.drop(dark)
        page.until(
            "document.getElementById('draw').getContext('2d').getImageData(9, 9, 1, 1).data[0] < 9"
        )
        page.page.evaluate("window.hold = false; held.forEach((go) => frame(go))")
        page.wait()
        assert page.seen().max() == 5


def test_clear_forgets_everything(browser, served):
    with Page(browser, served) as page:
        draw(page, [[(0.5, 0.2), (0.5, 0.8)]])
        # An answer is on its way when Clear is pressed.
        page.page.evaluate("""() => { document.getElementById('invert').dispatchEvent(
            new Event('change')); document.getElementById('clear').click(); }""")
        page.wait()
        assert page.text("answer") == "\N{EN DASH}"
        assert page.page.locator("#bars li").count() == 0
        assert page.page.locator("#hint").is_visible()
        assert page.box().max() == 0


def status_of(page):
    page.page.locator("#status.error").wait_for()
    return page.text("status")


def test_without_webassembly(browser, served):
    with Page(browser, served, "delete window.WebAssembly", is_ready=False) as page:
        assert status_of(page).startswith("This browser has no WebAssembly")


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("page.js", "A part of the page cannot be loaded: is keras-mixers demo still running?"),
        ("image.js", "A part of the page cannot be loaded: is keras-mixers demo still running?"),
        ("model.json", "The model cannot be loaded: model.json: 404"),
        ("model.tflite", "The model cannot be loaded: model.tflite: 404"),
    ],
)
def test_what_is_missing(browser, served, missing, sentence):
    with Page(browser, served, is_ready=False, missing=missing) as page:
        assert status_of(page).startswith(sentence)
        page.complaints = [c for c in page.complaints if "404" not in c]


def test_an_older_browser(browser, served_colors):
    with Page(browser, served_colors, "delete Array.prototype.toSorted") as page:
        page.upload(png(photograph()[::4, ::4]))
        assert page.text("status") == ""


NO_MEDIA = "Object.defineProperty(navigator, 'mediaDevices', {value: undefined})"
INSECURE = NO_MEDIA + "; Object.defineProperty(window, 'isSecureContext', {value: false})"
REFUSED = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', '%s'); }"


@pytest.mark.parametrize(
    ("script", "beginning"),
    [
        (NO_MEDIA, "This browser has no camera for pages"),
        (INSECURE, "Browsers give the camera only to pages of https:// and http://localhost"),
        *extended(
            (REFUSED % "NotAllowedError", "The camera was refused"),
            (REFUSED % "NotFoundError", "This machine has no camera"),
        ),
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


def test_the_camera_gives_answers_and_is_released(browser, served_colors):
    with Page(browser, served_colors, WATCH) as page:
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


# The browser asks until the test allows it.
ASK = """
const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
window.asked = [];
navigator.mediaDevices.getUserMedia = async (what) => {
  asked.push(what);
  const stream = window.stream = await get(what);
  await new Promise((go) => { window.allow = go; });
  return stream;
};
"""
STATE = "stream.getTracks()[0].readyState"


def test_the_camera_is_asked_for_once(browser, served):
    with Page(browser, served, ASK) as page:
        page.page.click("#camera")
        page.page.click("#camera")
        page.until("window.allow")
        assert [one["video"]["facingMode"] for one in page.page.evaluate("asked")] == [
            "environment"
        ]
        page.page.evaluate("allow()")
        page.page.locator("#camera:text-is('Stop')").wait_for()
        page.upload(png(np.full((40, 40, 3), 250, "uint8")))
        assert page.text("camera") == "Camera"
        assert page.page.evaluate(STATE) == "ended"
        assert page.seen().min() == 250


@pytest.mark.parametrize("what", ["clear", "file"])
def test_the_camera_does_not_start_over_something_else(browser, served, what):
    with Page(browser, served, ASK) as page:
        page.page.click("#camera")
        page.until("window.allow")
        if what == "clear":
            page.page.click("#clear")
        else:
            page.upload(png(np.full((40, 40, 3), 250, "uint8")))
        page.page.evaluate("allow()")
        page.until(f"{STATE} === 'ended'")
        assert page.text("camera") == "Camera"
        assert page.page.locator("#video").is_hidden()


NO_PLAY = "; HTMLMediaElement.prototype.play = async () => { throw new DOMException('No.'); }"


def test_a_camera_that_cannot_be_shown_is_released(browser, served):
    with Page(browser, served, WATCH + NO_PLAY) as page:
        page.page.click("#camera")
        assert status_of(page) == "The camera cannot be used: No."
        assert page.page.evaluate(STATE) == "ended"
        assert page.text("camera") == "Camera"


def test_a_camera_that_stops_by_itself(browser, served):
    with Page(browser, served, WATCH) as page:
        page.page.click("#camera")
        page.page.locator("#bars li").first.wait_for()
        page.page.evaluate("stream.getTracks()[0].dispatchEvent(new Event('ended'))")
        assert status_of(page).startswith("The camera has stopped by itself")
        assert page.text("camera") == "Camera"


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
