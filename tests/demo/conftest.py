import pytest

from keras_mixers.demo import litert_js as litert_js_module


@pytest.fixture(scope="session")
def litert_js():
    from tests.demo.serving import need

    need(f"LiteRT.js: {litert_js_module.command()}", litert_js_module.folder().is_dir())


@pytest.fixture
def litert_js_folder(litert_js):
    return litert_js_module.folder()


@pytest.fixture(scope="session")
def of_colors(tmp_path_factory):
    from tests.demo.serving import write_colors

    return write_colors(tmp_path_factory.mktemp("colors") / "tiny.tflite")


@pytest.fixture(scope="session")
def served_colors(of_colors, litert_js):
    from tests.demo.serving import Serving

    with Serving(of_colors) as serving:
        yield serving
