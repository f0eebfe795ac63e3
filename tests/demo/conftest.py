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
def of_colours(tmp_path_factory):
    from tests.demo.serving import write_colours

    return write_colours(tmp_path_factory.mktemp("colours") / "tiny.tflite")


@pytest.fixture(scope="session")
def served_colours(of_colours, litert_js):
    from tests.demo.serving import Serving

    with Serving(of_colours) as serving:
        yield serving
