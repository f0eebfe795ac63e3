"""What `keras-mixers tpu-plan` is made of: chips, two routes to a compiled step, its reading."""
