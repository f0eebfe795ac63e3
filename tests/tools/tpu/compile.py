"""Plans of small models and of one too large: python -m tests.tools.tpu.compile ROUTE."""

import sys

from tools import tpu_plan

COMMON = ("--topology", "v5e:2x2", "--batch-size", "128", "--image-size", "64", "--classes", "16")
MODELS = {
    "MLPMixer": dict(
        patch_size=8, hidden_dim=256, num_blocks=1, tokens_mlp_dim=128, channels_mlp_dim=1024
    ),
    "S2MLP": dict(patch_size=8, hidden_dim=256, num_blocks=1, channels_mlp_dim=1024),
    "SMLPNet": dict(patch_size=8, hidden_dim=256, depths=(1,)),
}
# What is compiled: a model and more flags. Where a batch comes in parts, the same is counted.
RUNS = (
    ("MLPMixer", "--accumulation", "2"),
    ("S2MLP",),
    ("S2MLP", "--remat"),
    ("SMLPNet",),
)


def main(route):
    for model, *flags in RUNS:
        given = [f"{name}={value}".replace(" ", "") for name, value in MODELS[model].items()]
        command = ["--route", route, "--model", model, "--model-options", *given, *COMMON]
        command += flags
        status = tpu_plan.main([*command, "--json"])
        if status:
            sys.exit(status)
    assert tpu_plan.main([*command, "--batch-size", str(1 << 20), "--json"]) == 1


if __name__ == "__main__":
    main(*sys.argv[1:])
