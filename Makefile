# The same commands for a person and for CI. Each works as the first one on a machine with Python >= 3.11 and pip.
#
#   PYTHON=python3.12 make setup        another Python for .venv
#   UV_TORCH_BACKEND=cpu make setup     another build of PyTorch (uv's names: auto, cpu, cu130, ...)
#
# `make` alone lists the commands: each target's line ends in `## its help`.

.PHONY: help setup demo quick quick-tests test soak lint types format docs bench lock clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
TORCH := 2.13.0
BIN := .venv/bin
STAMP := .venv/.installed
DOCS_STAMP := .venv/.installed-docs
SCALE_STAMP := .venv/.installed-scale
# A process of its own for each core, four at most: each takes about 1 GB.
PYTEST := $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist worksteal
UV := $(shell command -v uv || echo .tools/bin/uv)

CHECK_PYTHON = @$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	"jointreid needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + \
	"; name another: make setup PYTHON=python3.12")'

INSTALL = sh .ci/like-pip $(PYTHON) $(UV) pip install --quiet --compile-bytecode --python $(BIN)/python \
	--constraint requirements.lock --editable

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## install the package, its tests and its checks into .venv

demo: $(STAMP) ## train on synthetic people and write a report, in minutes on two cores
	$(BIN)/jointreid demo

quick: $(STAMP) ## check style and types and run the fast tests: after each edit, a minute on two cores
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(MAKE) --no-print-directory --jobs 2 types quick-tests

quick-tests: $(STAMP) ## run the fast tests alone
	@$(PYTEST) -m "not slow and not triton" --durations 0 --durations-min 1

types: $(STAMP) ## check types with mypy
	@$(BIN)/mypy

test: $(STAMP) ## run all tests on all cores, also those of the GPU kernels in Triton's interpreter: eight minutes on two cores
	$(PYTEST) -m "not triton"
	TRITON_INTERPRET=1 $(PYTEST) -m triton tests/models/test_dynamic_filter_triton.py

soak: $(SCALE_STAMP) ## run what takes long: train on every fault, kill runs, start several processes and hosts, run other tools
	timeout 1200 $(BIN)/python -m tests.soak.faults
	timeout 900 $(BIN)/python -m tests.soak.kill_resume --kills 100 --minutes 10
	timeout 1800 $(BIN)/python -m tests.soak.gallery_kill --kills 12
	timeout 900 $(BIN)/python -m tests.soak.ranks
	timeout 900 $(BIN)/python -m tests.soak.ray_extract
	@if [ -x "$$(command -v $(UV))" ]; then \
		mkdir -p out/soak && { test -f out/demo/bot-dcsd/config.yaml || $(BIN)/jointreid demo; } && \
		UV=$(UV) timeout 1800 $(BIN)/python -m tests.soak.tools out/demo/bot-dcsd --json out/soak/tools.json; \
		else echo "tests.soak.tools: left out, needs uv, which makes an environment for each tool"; fi
	@if [ "$$(id -u)" = 0 ] && command -v ip > /dev/null; \
		then timeout 600 $(BIN)/python -m tests.soak.hosts; \
		else echo "tests.soak.hosts: left out, needs root and the command ip (iproute2)"; fi

lint: $(STAMP) ## check style, formatting and types, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## format the code and correct what ruff can
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

docs: $(DOCS_STAMP) ## build the pages of docs/ into out/site
	$(BIN)/mkdocs build --quiet --strict --site-dir out/site
	@echo "docs: out/site/index.html"

bench: $(STAMP) ## measure speed on this machine, into out/bench
	@mkdir -p out/bench
	@for name in operators model pipeline train_step ranking growth export gallery serve; do \
		echo "benchmarks/$$name.py"; $(BIN)/python benchmarks/$$name.py --json out/bench/$${name}_cpu.json || exit 1; \
	done

# The newest releases that fit together, for every platform and every extra; without index addresses and hashes.
lock: | $(UV) ## pin the newest releases that fit together in requirements.lock
	@echo "torch==$(TORCH)" | env -u UV_TORCH_BACKEND UV_FIND_LINKS= sh .ci/like-pip $(PYTHON) $(UV) pip compile --quiet \
		--upgrade --universal --all-extras --no-annotate --custom-compile-command "make lock" \
		--constraint - --output-file requirements.lock pyproject.toml

# Not out/ itself: a grid of `paper run`, fetched weights and galleries may lie there, too.
clean: ## remove .venv and what these commands made; your runs, galleries and weights stay
	rm -rf .venv .tools out/demo out/bench out/site out/soak dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): pyproject.toml requirements.lock | $(UV)
	$(CHECK_PYTHON)
	@echo "installing into .venv; PyTorch is large, so this can take minutes"
	@test -x $(BIN)/python || \
		$(UV) venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
	@$(INSTALL) '.[dev]'
	@touch $@

$(DOCS_STAMP): $(STAMP)
	@$(INSTALL) '.[docs]'
	@touch $@

$(SCALE_STAMP): $(STAMP)
	@$(INSTALL) '.[scale]'
	@touch $@

# --target leaves the machine's Python as it is, also one that the system manages.
.tools/bin/uv:
	$(CHECK_PYTHON)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target .tools uv
