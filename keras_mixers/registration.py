"""Makes our classes known to Keras without importing Keras: as soon as it is imported.

`keras.models.load_model` finds a class of this package only where it has been registered, and
`import keras_mixers` by itself promises that.
"""

import importlib
import importlib.abc
import sys

# Those that register classes. None may import another of them at its top: Keras is first imported
# in the middle of one, which is then not whole yet.
_MODULES = (
    "keras_mixers.layers",
    "keras_mixers.preprocessing.layer",
    "keras_mixers.models.mixer_model",
)


def with_keras():
    """Registers our classes, now if Keras has been imported, or else right after it."""
    if sys.modules.get("keras") is not None:
        _register()
    else:
        sys.meta_path.insert(0, _AfterKeras())


def _register():
    for name in _MODULES:
        importlib.import_module(name)


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Finds Keras as Python would, and registers our classes when it has been executed.

    It stays until then: others, such as TensorFlow, look for Keras and do not execute it.
    """

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        # Also not one of an earlier import of this package, where it is imported anew.
        others = (f for f in sys.meta_path if type(f).__name__ != type(self).__name__)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._register_after(spec.loader)
        return spec

    def _register_after(self, loader):
        execute = loader.exec_module

        def execute_and_register(module):
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                _register()

        loader.exec_module = execute_and_register
