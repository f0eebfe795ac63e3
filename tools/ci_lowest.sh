#!/usr/bin/env bash
# Runs a part of the tests with the lowest versions that setup.cfg allows, in an environment of its
# own. Too long for .ci/run; run it before a release, and after a change of a bound.
#
#   bash tools/ci_lowest.sh              # layers, preprocessing, weights and models, both backends
#   bash tools/ci_lowest.sh --resolve    # only whether pip can install these versions together
#   bash tools/ci_lowest.sh tests/layers # other tests, or options of pytest
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() { printf '\n=== %s (%s)\n' "$1" "$(date +%T)"; }

# One line for each requirement, with == for >=. Where extras give several lower bounds of a
# package, the highest one counts.
lowest() {
  python3 - "$@" <<'PY'
import configparser
import re
import sys

config = configparser.ConfigParser()
config.read("setup.cfg")
extras = config["options.extras_require"]
lines = config["options"]["install_requires"].splitlines()
for extra in sys.argv[1:]:
    lines += extras[extra].splitlines()

bounds, caps = {}, {}
for line in lines:
    line = line.partition("#")[0].strip()
    match = re.fullmatch(r"([\w.-]+(?:\[[\w,]+\])?)((?:[<>]=?[\d.]+,?)*)", line)
    if not line or line.startswith("keras_mixers["):
        continue
    if match is None:
        sys.exit(f"setup.cfg: cannot read the requirement {line!r}")
    name, specifiers = match.groups()
    for operator, version in re.findall(r"([<>]=?)([\d.]+)", specifiers):
        if operator == ">=":
            key = lambda text: tuple(map(int, text.split(".")))
            bounds[name] = max(bounds.get(name, "0"), version, key=key)
        else:
            caps.setdefault(name, []).append(operator + version)
for name, version in bounds.items():
    print(",".join([f"{name}=={version}", *caps.pop(name, [])]))
for name, specifiers in caps.items():
    print(name + ",".join(specifiers))
PY
}

# Not together: tpu has a TensorFlow of its own, and plan wants a newer JAX than the extra jax.
sets=(
  "tensorflow jax weights"
  "tensorflow jax weights train"
  "tensorflow weights export"
  "tensorflow train plan"
  "tensorflow detect"
)
pytest=$(sed -nE 's/^ *(pytest[a-z-]*)>=/\1==/p' setup.cfg) # And pytest-xdist, for its options.

python3 -m venv "$scratch/venv"
. "$scratch/venv/bin/activate"
pip install --quiet --upgrade pip

for extras in "${sets[@]}"; do
  say "lowest versions of: $extras"
  # shellcheck disable=SC2086
  lowest $extras | tee "$scratch/${extras// /-}.txt"
  pip install --quiet --dry-run -r "$scratch/${extras// /-}.txt"
done
if [ "${1:-}" = --resolve ]; then
  exit
fi

say "install"
# shellcheck disable=SC2086
pip install --quiet -r "$scratch/tensorflow-jax-weights-train.txt" $pytest
pip install --quiet --no-deps -e .
pip list 2>/dev/null | grep -iE '^(keras|numpy|h5py|tensorflow|jax|jaxlib|safetensors) '

tests=("$@")
if [ ${#tests[@]} = 0 ]; then
  tests=(tests/layers tests/preprocessing tests/weights tests/models)
fi
for backend in tensorflow jax; do
  say "tests on $backend"
  KERAS_BACKEND=$backend JAX_PLATFORMS=cpu pytest -q "${tests[@]}"
done
