# make reproduce runs the workflow up to the tables. make test, make lint and make check verify the code.
# All targets use the environment .venv, which is made from envs/requirements.txt. ARGS holds options for the program
# that is called, for example: make reproduce ARGS="--config preset=mini seeds=[1,2]"
PYTHON ?= python3
ARGS ?=
VENV := .venv
STAMP := $(VENV)/installed
BIN := $(VENV)/bin
CLUSTER_TESTS := $(addprefix tests/workflow/test_,cluster.py cluster_accounts.py first_run.py)
# Rules and tests call slq and snakemake by name, so they must be found on PATH.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: home reproduce report trace pretrain install test test-all test-slurm test-gpu test-snapshots mutants lint check clean

# Snakemake creates a cache folder in HOME before it reads this repository.
home:
	@place="$${XDG_CACHE_HOME:-$$HOME/.cache}"; while [ ! -e "$$place" ]; do place=$$(dirname "$$place"); done; \
	if [ -z "$$HOME" ] || [ ! -w "$$place" ]; then echo "HOME ('$$HOME') is not writable, and Snakemake needs a \
	cache there: set HOME to a writable folder, or set XDG_CACHE_HOME in addition" >&2; exit 1; fi

reproduce: home $(STAMP)
	$(BIN)/snakemake --cores all $(ARGS)

# One page on whether the paper reproduces: paper_tables/<preset>/report.html.
report: home $(STAMP)
	$(BIN)/snakemake --cores all report $(ARGS)

# Trace a cell of Table 3, given by its row and column in cells.csv, back to the files that it was computed from:
# make trace CELL="mini-internvl/slq mini-coco t2i R@5"
trace: $(STAMP)
	@$(BIN)/python tests/trace.py "$(CELL)" $(ARGS)

# Pre-train the mini backbones and encoders from scratch, and compare them with the weights shipped with the repository
# (10 minutes). ARGS=--write replaces the shipped weights.
pretrain: $(STAMP)
	$(BIN)/python tests/ship_weights.py $(ARGS)

install: $(STAMP)

# No build isolation, because pip would then download a setuptools other than the pinned one.
$(STAMP): envs/requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# One worker per processor, at most eight. To run in a random order: make test ARGS="--shuffle 7"
test: $(STAMP)
	$(BIN)/pytest -q -n auto tests $(ARGS)

# All of `make test`, and tests that take minutes or gigabytes: all cases of killed jobs, the paper preset with small
# sizes, datasets as large as the paper's.
test-all: $(STAMP)
	$(BIN)/pytest -q -n auto -m "not slurm" tests $(ARGS)

# Tests on a real Slurm, after `make reproduce`: the whole mini preset with its results, failures, accounting, and the
# commands of docs/first-run.md. They take 50 minutes and need root and Debian's packages slurm-wlm, munge, slurmdbd and
# mariadb-server.
test-slurm: $(STAMP)
	SLQ_NEEDS_SLURM=1 $(BIN)/pytest -q -m "slurm or not slurm" $(CLUSTER_TESTS) $(ARGS)

# The paper's shapes on one GPU, in at most 8 minutes: correctness, speed and memory, written to docs/gpu.md. The same
# command continues after an interruption. On a machine with other packages: python3 tests/gpu/run.py
test-gpu: $(STAMP)
	@$(BIN)/python tests/gpu/run.py $(ARGS)

# The released models' configurations, tokenizers and processors, with random weights of few layers. They come from
# tests/data/snapshots.tar.xz, or from a folder that has one folder for each model: make test-snapshots SLQ_SNAPSHOTS=FOLDER
test-snapshots: $(STAMP)
	$(BIN)/pytest -q tests/snapshots $(ARGS)

# Mutation tests (tests/mutants): each mutant breaks one behaviour in a copy of the code, and its tests must fail.
# All mutants, or those of the given names or packages: make mutants ARGS="NAME|PACKAGE ... -j 4 --why"
mutants: $(STAMP)
	$(BIN)/python tests/mutants/run.py $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check .
	$(BIN)/snakemake --lint
	$(BIN)/mypy

# After `make reproduce`: numbers, claims, and every command of README and docs with its output.
check: $(STAMP)
	$(BIN)/pytest -q -n auto tests/acceptance $(ARGS)

clean:
	rm -rf $(VENV)
