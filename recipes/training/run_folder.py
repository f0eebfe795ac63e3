"""What a run folder holds beside the checkpoints and the log: the configuration, the models."""

import pathlib
import tempfile

from recipes.training import config as config_module
from recipes.training import files
from recipes.training.checkpoints import Checkpoints
from recipes.training.errors import UsageError


def save_models(engine, folder):
    """Writes model.keras and, with an average of the weights, model_ema.keras, complete or not.

    All processes of a job must call this together; the first one writes. `sync_model` is to follow.
    """
    _save_model(engine, folder / "model.keras")
    if engine.has_averages:
        engine.with_averages(lambda: _save_model(engine, folder / "model_ema.keras"))


def _save_model(engine, path):
    engine.sync_model()
    if not engine.is_chief:
        return
    with tempfile.TemporaryDirectory() as scratch:
        local = pathlib.Path(scratch, path.name)
        engine.model.save(local)
        files.write(path, local.read_bytes())


def prepare(folder, config):
    """Makes the run folder and writes the configuration.

    Where there are checkpoints already, the configuration must be theirs.

    Returns:
        Whether the run begins: there is no checkpoint.

    Raises:
        UsageError: The folder cannot be written, or belongs to a run of another configuration.
    """
    path = folder / "config.json"
    checkpoints = Checkpoints(folder / "checkpoints", keep=1)
    begun = bool(checkpoints.paths())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").write_text("")
        (folder / ".writable").unlink()
        if not begun:
            config_module.save(config, path)
            return True
        before = _configuration(path, checkpoints)
    except OSError as error:
        raise UsageError(f"--out must be a folder to write into. Received: {error}") from None
    differing = config_module.differences(before, config)
    if differing:
        raise UsageError(
            f"--out {folder} holds a run of another configuration: give another folder, or the "
            f"settings of that run (--config {path}). They differ in:\n  " + "\n  ".join(differing)
        )
    return False


def _configuration(path, checkpoints):
    """That of the run folder; where it is lost or cut off, each checkpoint has it too."""
    try:
        return config_module.load(path)
    except UsageError:
        _, _, about = checkpoints.load_newest(lambda sentence: None)
    try:
        config = config_module.from_dict(about["config"])
    except ValueError as error:
        raise UsageError(
            f"--out {path.parent} holds checkpoints of another version of this command ({error}): "
            "give another folder."
        ) from None
    config_module.save(config, path)
    return config
