# `make quickstart` and `make test` share one virtual environment, .venv, installed at the versions in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install -qq -c constraints.txt

.PHONY: help quickstart test test-all test-faults lint format clean
.DELETE_ON_ERROR:

help:
	@echo "make quickstart   install, then run the embedded comparison"
	@echo "make test         lint, types, layers and the fast tests"
	@echo "make test-all     the same with the slow tests"
	@echo "make test-faults  of these, the runs that are broken on purpose and resumed"
	@echo "make lint         ruff, pyright and import-linter only"
	@echo "make format       rewrite the code in the project's style"
	@echo "make clean        remove .venv, caches and build outputs (never runs/)"

quickstart: $(VENV)/installed
	@echo "Running the quickstart comparison"
	@$(BIN)/bakeoff quickstart

test: lint
	@echo "Running the fast tests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

test-all: lint
	@echo "Running all tests, the slow ones too"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m ""

test-faults: $(VENV)/installed-dev
	@echo "Breaking runs, and resuming them"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "" tests/faults

lint: $(VENV)/installed-dev
	@echo "Checking style (ruff)"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "error: not formatted; run 'make format'" >&2; exit 1; }
	@echo "Checking types (pyright)"
	@$(BIN)/pyright
	@echo "Checking layers (import-linter)"
	@$(BIN)/lint-imports --no-logo --no-cache

format: $(VENV)/installed-dev
	@echo "Formatting (ruff)"
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

clean:
	@echo "Removing .venv, caches and build outputs"
	@rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find src tests scripts -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# pip is the last thing that venv writes: an interrupted creation starts again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: Bakeoff needs Python 3.11 or newer, and '$(PYTHON)' is not; try: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Creating the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# The stamps: reinstall only when the dependencies change.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing Bakeoff and its dependencies (a few minutes the first time)"
	@$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing Bakeoff with its development tools (a few minutes the first time)"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/installed
