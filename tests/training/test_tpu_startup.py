"""`--tpu` up to its first steps: TPUs replaced by what notes who is called with what, in order."""

import re
import socket

import pytest
import tensorflow as tf

from keras_mixers.training import distribution
from tests.helpers import train_command

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("undrawn")]


@pytest.fixture
def calls(monkeypatch):
    """Returns the list of calls; `TPUStrategy` becomes two logical devices of the CPU."""
    noted, replicas = [], distribution.mirrored(("CPU:0", "CPU:1"))

    def note(name, result=None):
        def fake(*args, **kwargs):
            noted.append((name, *args, *(f"{k}={v}" for k, v in kwargs.items())))
            return result

        return fake

    monkeypatch.setattr(
        tf.distribute.cluster_resolver, "TPUClusterResolver", note("resolve", "the resolver")
    )
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", note("connect"))
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", note("initialize"))
    monkeypatch.setattr(tf.distribute, "TPUStrategy", note("strategy", replicas))
    distribute = replicas.distribute_datasets_from_function

    def note_data(of_host, options=None):
        def noting(context):
            data = of_host(context)
            noted.append(("data", data.element_spec, data.options(), options))
            return data

        return distribute(noting, options)

    monkeypatch.setattr(replicas, "distribute_datasets_from_function", note_data)
    run = replicas.run

    def note_run(function, args=(), kwargs=None, options=None):
        noted.append(("run", function.__name__))
        return run(function, args, kwargs, options)

    monkeypatch.setattr(replicas, "run", note_run)
    return noted


SMALL = (*train_command.SHORTER, "--epochs", "1", "--precision", "float32")


def test_the_tpu_of_this_machine(folder, tmp_path, calls, capfd):
    assert train_command.run(folder, tmp_path, "--tpu", *SMALL) == 0
    assert calls[:3] == [
        ("resolve", "tpu=local"),
        ("initialize", "the resolver"),
        ("strategy", "the resolver"),
    ]
    assert "2 TPU devices, tensorflow, float32" in capfd.readouterr().err
    # Traced once each: a second time would be a second compilation on a TPU.
    runs = [call[1] for call in calls if call[0] == "run"]
    assert runs == ["replica_step", "_evaluate_on_one"]
    # Its data has static shapes.
    (training, *how), (validation, *_) = [call[1:] for call in calls if call[0] == "data"]
    assert how[0].deterministic is not False
    assert how[1] is None  # TensorFlow's own: each replica's part is fetched ahead.
    assert [spec.shape for spec in training] == [(4, 24, 24, 3), (4, 3), (4,)]
    assert [spec.dtype for spec in training] == [tf.uint8, tf.float32, tf.int32]
    for spec in validation:
        assert spec.shape.is_fully_defined()
        assert spec.shape[0] == 4


def test_a_tpu_with_a_name_is_connected_to_and_an_address_is_tried_before_tensorflow_waits_for_it(
    folder, tmp_path, calls, monkeypatch, capfd
):
    connect, tried = socket.create_connection, []
    monkeypatch.setattr(
        distribution.socket, "create_connection", lambda *args: tried.append(args) or connect(*args)
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"grpc://127.0.0.1:{server.getsockname()[1]}"
        assert (
            train_command.run(folder, tmp_path / "a", "--tpu", "--tpu-name", address, *SMALL) == 0
        )
        assert calls[:4] == [
            ("resolve", f"tpu={address}"),
            ("connect", "the resolver"),
            ("initialize", "the resolver"),
            ("strategy", "the resolver"),
        ]
        assert tried == [(server.getsockname(), 20)]  # Seconds.
    calls.clear()
    assert train_command.run(folder, tmp_path / "b", "--tpu", "--tpu-name", address, *SMALL) == 2
    assert calls == []
    assert re.search(f"{address}: no TPU answered.*refused", capfd.readouterr().err)


@pytest.mark.parametrize("step", ["resolve", "connect", "initialize", "strategy"])
def test_what_fails_on_the_way_is_one_sentence(folder, tmp_path, calls, monkeypatch, capfd, step):
    where, name = {
        "resolve": (tf.distribute.cluster_resolver, "TPUClusterResolver"),
        "connect": (tf.config, "experimental_connect_to_cluster"),
        "initialize": (tf.tpu.experimental, "initialize_tpu_system"),
        "strategy": (tf.distribute, "TPUStrategy"),
    }[step]

    def fail(*args, **kwargs):
        raise tf.errors.InternalError(None, None, "RET_CHECK failure\nin tpu_node_interfaces.cc")

    monkeypatch.setattr(where, name, fail)
    assert train_command.run(folder, tmp_path, "--tpu", "--tpu-name", "my-tpu", *SMALL) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "--tpu" in line]
    assert line.endswith("TensorFlow says: RET_CHECK failure")
    assert not list(tmp_path.glob("*.json"))


def test_a_batch_that_does_not_divide_is_refused(folder, tmp_path, calls, capfd):
    assert train_command.run(folder, tmp_path, "--tpu", "--batch-size", "6") == 2
    assert "--batch-size must be a multiple of 4" in capfd.readouterr().err
