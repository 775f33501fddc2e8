#!/bin/bash
# What one card does, in one call of at most eight minutes (benchmarks/gpu.py). From the repository's root:
#
#     bash benchmarks/gpu.sh [flags of benchmarks/gpu.py]
#
# The machine: Linux on x86-64 with an H100 or H200, a driver for CUDA 13, 40 GB of disk (or, faster, of /dev/shm), and
# Python 3.12 with torch 2.11 (CUDA), accelerate, pandas, pyarrow >= 24, psutil, PyYAML, attrs, safetensors,
# huggingface_hub >= 1.31, regex, xxhash and jinja2. It needs no network. In the environment, PYTHON names another
# Python, WHEELS another folder of wheels, OUT another folder of results.
#
# All else lies beside, as wheels in wheels/ (20 MB). On a machine with a network, before:
#
#     python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
#       --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d wheels \
#       transformers==5.23.0 tokenizers==0.23.3 trl==1.16.0 peft==0.21.2 datasets==5.2.0 dill==0.4.1 \
#       multiprocess==0.70.19 jsonschema==4.26.0 jsonschema-specifications==2025.9.1 referencing==0.37.0 \
#       rpds-py==2026.9.1
#
# An older transformers stops the trainings with a message; for an older pyarrow, add pyarrow==26.0.1 (55 MB).
set -euo pipefail
python=${PYTHON:-python3} wheels=${WHEELS:-wheels} out=${OUT:-results/gpu}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if compgen -G "$wheels/*.whl" >/dev/null; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl
else
    echo "no wheels in $wheels: the packages of $python are taken as they are" >&2
fi
PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} "$python" "$(dirname "$0")/gpu.py" --out "$out" "$@"
