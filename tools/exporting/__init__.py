"""What tools/export.py is made of."""

PRECISIONS = ("float32", "float16", "dynamic", "int8", "int8-full")
"""Of TFLite files; `python tools/export.py --help` says what each is."""
CALIBRATED = ("int8", "int8-full")
"""Those whose ranges are found on pictures."""
