#!/bin/sh
# Train what is left of the comparison, then write its tables. Resumable: run it again after an interruption.
# Several may run at once with one --out: each trains what no other does.
#
#   bash benchmarks/evidence/run.sh --scale cpu [--minutes 60] [--only people_random]
set -eu
cd "$(dirname "$0")/../.."
export PYTHONPATH="benchmarks:src${PYTHONPATH:+:$PYTHONPATH}"
PYTHON="${PYTHON:-.venv/bin/python}"
"$PYTHON" -m evidence.run "$@"
"$PYTHON" -m evidence.tables "$@"
