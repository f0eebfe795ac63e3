"""What `keras-mixers export` is made of."""

PRECISIONS = ("float32", "float16", "dynamic", "int8", "int8-full")
"""Of TFLite files; `keras-mixers export --help` says what each is."""
CALIBRATED = ("int8", "int8-full")
"""Those whose ranges are found on images."""
CALIBRATION_IMAGES = 256
"""How many images these are by default."""
