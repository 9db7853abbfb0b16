# make quickstart   build .venv and run the main job on the set that ships with the package, offline
# make test         build .venv and run all tests
# make check        lint, types and import contracts
# make bench        run the benchmarks and print their table (BENCH="--quick" for a smoke run, "--full" for full sizes)
# make pages        write the pages of the commands anew

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_WORKERS ?= 2

.PHONY: quickstart test lint types check bench pages clean

quickstart: $(VENV)/.installed
	$(BIN)/hf-relabel quickstart

test: $(VENV)/.installed
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed
	$(BIN)/mypy

check: lint types

bench: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks --out bench.json $(BENCH)

pages: $(VENV)/.installed
	$(BIN)/python -m hf_relabel.hub_tools.commands.pages

# torch comes first and by itself: anything newer than the pinned one would bring CUDA with it.
# text-generation asks for an old huggingface_hub, so it is installed without its dependencies.
$(VENV)/.installed: pyproject.toml constraints.txt Makefile
	$(PYTHON) -c "import sys; assert sys.version_info >= (3, 11), 'Python 3.11 or newer is needed'"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps text-generation==0.7.0
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
