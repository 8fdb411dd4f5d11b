#!/bin/sh
# The measurements and every test that need a GPU, in one call of under nine minutes; what comes out lies in one folder.
# (Images on their way to a GPU are measured apart: benchmarks/pipeline.py --device cuda.)
#
#   sh benchmarks/gpu.sh                  the environment in .venv, results in out/gpu
#   PYTHON=python3 OUT=/tmp/gpu sh benchmarks/gpu.sh
#
# Copy the *_gpu.json that are to be kept into results/ and run `python benchmarks/write_results.py`.
set -u
cd "$(dirname "$0")/.."
OUT=${OUT:-out/gpu}
PYTHON=${PYTHON:-.venv/bin/python}
export PYTHONPATH="src:${PYTHONPATH:-}"
mkdir -p "$OUT"
nvidia-smi >"$OUT/machine.txt" 2>&1 || { echo "there is no NVIDIA GPU here (nvidia-smi failed)"; exit 2; }

failed=""
run() { # NAME SECONDS COMMAND...: its output goes to NAME.txt; a failure does not stop what follows
	name=$1 seconds=$2
	shift 2
	echo "== $name"
	timeout "$seconds" "$@" >"$OUT/$name.txt" 2>&1 || failed="$failed $name"
	tail -n 25 "$OUT/$name.txt"
}

run operators 110 "$PYTHON" benchmarks/operators.py --device cuda --json "$OUT/operators_gpu.json"
run tests 170 "$PYTHON" -m pytest -q -m gpu
run model 135 "$PYTHON" benchmarks/model.py --device cuda --json "$OUT/model_gpu.json"
run train_step 80 "$PYTHON" benchmarks/train_step.py --device cuda --json "$OUT/train_step_gpu.json"
run ranking 40 "$PYTHON" benchmarks/ranking.py --device cuda --size msmt17-1000 --json "$OUT/ranking_gpu.json"

[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
