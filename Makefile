# Everything a person or CI runs. `make` alone prints this help.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test check format bench chaos soak lock clean

help: ## print this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

$(STAMP): packaging/requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "clipperd needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r packaging/requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

install: $(STAMP) ## create .venv and install everything, each file pinned by hash

demo: $(STAMP) ## sandbox Notion, broker and daemon: watch a clip survive (ARGS=--once exits)
	$(BIN)/python -m clipperd demo $(ARGS)

test: $(STAMP) ## the whole suite, on real parts
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: $(STAMP) ## format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## rewrite to the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## measure, in ratios
	$(BIN)/python -m tests.bench $(ARGS)

chaos: $(STAMP) ## seeded kills and faults, simulated and real; prints lost/doubled/misplaced/out of order
	$(BIN)/python -m tests.chaos $(ARGS)

soak: $(STAMP) ## three brokers killed in turn, Redis lost; prints what must not be
	$(BIN)/python -m tests.scale $(ARGS)

LOCK := uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --quiet
lock: ## refresh the pinned requirements (needs uv)
	{ echo "# Packages for make test, each file pinned by its hash. Refresh with: make lock"; \
	  $(LOCK) --extra dev pyproject.toml; } > packaging/requirements-dev.txt
	{ echo "# Packages that a broker needs at run time, and no others. Refresh with: make lock"; \
	  $(LOCK) --group broker --constraint packaging/requirements-dev.txt; } > packaging/requirements-broker.txt
	{ echo "# Packages that build the wheel. Refresh with: make lock"; \
	  $(LOCK) --group build --constraint packaging/requirements-dev.txt; } > packaging/requirements-build.txt

clean: ## remove what the tools left (never the virtual environment)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
