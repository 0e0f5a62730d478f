# All commands for you and CI. `make` alone prints this help.
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

install: $(STAMP) ## create .venv and install everything, pinned by hash

demo: $(STAMP) ## run sandbox, broker and daemon: watch your clip survive (ARGS=--once exits)
	$(BIN)/python -m clipperd demo $(ARGS)

test: $(STAMP) ## run the whole suite (ARGS='tests/clipperd/outbox -q' runs a part)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: $(STAMP) ## check format, lint, types, imports and prose
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.prose

format: $(STAMP) ## format the code and fix lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## measure, in ratios (ARGS=push measures one part)
	$(BIN)/python -m tests.bench $(ARGS)

chaos: $(STAMP) ## kill and break the programs; count clips lost, doubled, misplaced, out of order
	$(BIN)/python -m tests.chaos $(ARGS)

soak: $(STAMP) ## kill three brokers in turn, and Redis; print violations
	$(BIN)/python -m tests.scale $(ARGS)

LOCK := uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --quiet
lock: ## refresh the pinned requirements (needs uv)
	{ echo "# Packages for make test, each file pinned by its hash. Refresh with: make lock"; \
	  $(LOCK) --extra dev pyproject.toml; } > packaging/requirements-dev.txt
	{ echo "# Packages that a broker needs at run time, and no others. Refresh with: make lock"; \
	  $(LOCK) --group broker --constraint packaging/requirements-dev.txt; } > packaging/requirements-broker.txt
	{ echo "# Packages that build the wheel. Refresh with: make lock"; \
	  $(LOCK) --group build --constraint packaging/requirements-dev.txt; } > packaging/requirements-build.txt

clean: ## remove caches and builds (never the virtual environment)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
