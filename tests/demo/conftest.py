import pytest

from keras_mixers.commands import demo


@pytest.fixture(scope="session")
def litert_js():
    from tests.demo.serving import need

    need(
        "LiteRT.js: npm install --prefix keras_mixers/demo/page",
        (demo.PAGE / "node_modules").is_dir(),
    )


@pytest.fixture(scope="session")
def of_colours(tmp_path_factory):
    from tests.demo.serving import write_colours

    return write_colours(tmp_path_factory.mktemp("colours") / "tiny.tflite")


@pytest.fixture(scope="session")
def served_colours(of_colours, litert_js):
    from tests.demo.serving import Serving

    with Serving(of_colours) as serving:
        yield serving
