"""What tools/tpu_plan.py is made of: chips, the two routes to a compiled step, and its reading."""
