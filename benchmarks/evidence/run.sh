#!/bin/sh
# Train what is left of the comparison, then write its tables. Resumable: run it again after an interruption.
# Several may run at once with one --out: each trains what no other does.
#
#   bash benchmarks/evidence/run.sh --scale cpu [--minutes 60] [--only people_random]
#
# On a GPU, at full width and twice the side of the pictures; its plan is tested, not its trainings:
#
#   bash benchmarks/evidence/run.sh --scale gpu --out DIR [--weights RESNET50.safetensors]
set -eu
cd "$(dirname "$0")/../.."
export PYTHONPATH="benchmarks:src${PYTHONPATH:+:$PYTHONPATH}"
PYTHON="${PYTHON:-.venv/bin/python}"
"$PYTHON" -m evidence.run "$@"
"$PYTHON" -m evidence.tables "$@"
