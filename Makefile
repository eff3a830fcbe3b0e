# make reproduce: from nothing to the tables.  make test, make lint, make check: is it right?
# Everything happens in .venv, made from envs/requirements.txt. A preset, seeds: make reproduce ARGS="--config seeds=[1,2]"
PYTHON ?= python3
ARGS ?=
VENV := .venv
STAMP := $(VENV)/installed
BIN := $(VENV)/bin
# Rules and tests call slq and snakemake by name.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: home reproduce report trace pretrain install test test-all test-slurm mutants lint check clean

# Snakemake looks into HOME, and makes a cache there, before it reads anything of this repository.
home:
	@place="$${XDG_CACHE_HOME:-$$HOME/.cache}"; while [ ! -e "$$place" ]; do place=$$(dirname "$$place"); done; \
	if [ -z "$$HOME" ] || [ ! -w "$$place" ]; then echo "HOME ('$$HOME') takes no cache: set HOME, or beside it \
	XDG_CACHE_HOME, to a folder that you may write" >&2; exit 1; fi

reproduce: home $(STAMP)
	$(BIN)/snakemake --cores all $(ARGS)

# Does it reproduce? One page: paper_tables/<preset>/report.html.
report: home $(STAMP)
	$(BIN)/snakemake --cores all report $(ARGS)

# A cell of Table 3, by its row and column in cells.csv, back to its evidence: make trace CELL="mini-internvl/slq mini-coco t2i R@5"
trace: $(STAMP)
	@$(BIN)/python tests/trace.py "$(CELL)" $(ARGS)

# Pre-train the mini backbones and encoders from scratch, and compare with the weights that come with the repository:
# 10 minutes. ARGS=--write puts the new ones in their place.
pretrain: $(STAMP)
	$(BIN)/python tests/ship_weights.py $(ARGS)

install: $(STAMP)

# Without build isolation: setuptools is pinned like everything else, and nothing is downloaded behind the lock's back.
$(STAMP): envs/requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# By as many workers as there are processors, eight at most. In a drawn order: make test ARGS="--shuffle 7"
test: $(STAMP)
	$(BIN)/pytest -q -n auto tests $(ARGS)

# The same and what takes minutes or gigabytes: every kill, the paper preset in small, datasets as large as the paper's.
test-all: $(STAMP)
	$(BIN)/pytest -q -n auto -m "not slurm" tests $(ARGS)

# On a real Slurm, after `make reproduce`: the whole mini preset with its results, faults, and accounts. 40 minutes, as
# root, with Debian's packages slurm-wlm, munge, slurmdbd and mariadb-server.
test-slurm: $(STAMP)
	SLQ_NEEDS_SLURM=1 $(BIN)/pytest -q -m "slurm or not slurm" tests/workflow/test_cluster.py tests/workflow/test_cluster_accounts.py $(ARGS)

# Does the suite notice? Each of tests/mutants breaks one behaviour in a copy, and its tests must fail. All, or some:
# make mutants ARGS="NAME|ROOM ... -j 4 --why"
mutants: $(STAMP)
	$(BIN)/python tests/mutants/run.py $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check .
	$(BIN)/snakemake --lint
	$(BIN)/mypy

check: $(STAMP)
	$(BIN)/pytest -q tests/acceptance

clean:
	rm -rf $(VENV)
