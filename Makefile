# Every target works in a bare clone with only Python 3.11 or newer and make; `make help` lists them.

PYTHON ?= python3
BIN := .venv/bin
PEERS := .venv-peers/bin
KUZU := .venv-kuzu/bin
# The benchmarks run where the peers are, if `make bench-peers` has made that place.
BENCH_PYTHON = $(if $(wildcard .venv-peers/.made),$(PEERS)/python,$(BIN)/python)
BENCH_NODES ?= 2000000
BENCH_EDGES ?= 20000000
BENCH_DIM ?= 128

.DEFAULT_GOAL := help
.PHONY: help quickstart test check format bench bench-peers wheel clean

help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'

# The environment, once per change of what it is made from. What runs is pinned by constraints.txt, but for the packages
# that only a CUDA build of torch brings; pip builds dbgnn's own wheel with a setuptools that it gets for itself.
.venv/.made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dbgnn needs Python 3.11 or newer; name one: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

quickstart: .venv/.made  ## Train GraphSAGE on real images that live in a DuckDB file (about half a minute).
	$(BIN)/python examples/quickstart.py

# Two processes, each with whole files: half of the time passes in waiting for other processes.
test: .venv/.made  ## Run the tests, two files at a time.
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/.made  ## Lint, formatting and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.made  ## Bring the code into the form that `make check` asks for.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.made  ## Run the benchmarks; sizes by BENCH_NODES, BENCH_EDGES, BENCH_DIM.
	$(BENCH_PYTHON) bench/ingest.py --nodes $(BENCH_NODES) --dim $(BENCH_DIM)
	$(BENCH_PYTHON) bench/gather.py --nodes $(BENCH_NODES) --dim $(BENCH_DIM)
	$(BENCH_PYTHON) bench/sample.py --nodes $(BENCH_NODES) --edges $(BENCH_EDGES)
	$(BENCH_PYTHON) bench/modes.py --nodes $(BENCH_NODES) --edges $(BENCH_EDGES)
	$(BENCH_PYTHON) bench/loader.py --nodes $(BENCH_NODES) --edges $(BENCH_EDGES) --dim $(BENCH_DIM) --rows pyg join join+hot100 shared auto --limits default --out bench/out
	$(BENCH_PYTHON) bench/etl.py --nodes 20000 --edges 200000
	$(BENCH_PYTHON) bench/etl.py --nodes $(BENCH_NODES) --edges $(BENCH_EDGES) --dim $(BENCH_DIM)
	$(BENCH_PYTHON) bench/places.py --nodes $(BENCH_NODES) --edges $(BENCH_EDGES) --dim $(BENCH_DIM)
	$(BENCH_PYTHON) bench/scale.py --out bench/out

bench-peers: .venv-peers/.made .venv-kuzu/.made  ## Install what the benchmarks compare with (about 15 minutes: it compiles).

# PyG's C++ sampler has no wheel on PyPI. It, and torch-scatter, which it imports, are built against the torch beside
# them, hence no build isolation.
.venv-peers/.made: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-peers
	$(PEERS)/pip install --quiet --disable-pip-version-check -c constraints.txt torch setuptools wheel scipy
	MAX_JOBS=2 $(PEERS)/pip install --disable-pip-version-check -c constraints.txt --no-build-isolation torch-scatter==2.1.2 torch-sparse==0.6.18
	$(PEERS)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[plot]'
	@touch $@

# Kùzu 0.3.2 is the last release whose get_tensor does not crash; PYTHON must be one it has a wheel for.
.venv-kuzu/.made: constraints.txt
	$(PYTHON) -m venv .venv-kuzu
	$(KUZU)/pip install --quiet --disable-pip-version-check -c constraints.txt kuzu==0.3.2 numpy pyarrow torch torch_geometric
	@touch $@

wheel: .venv/.made  ## Build the wheel into dist/.
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

clean:  ## Remove everything that was made, the environments too.
	rm -rf .venv .venv-peers .venv-kuzu build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/out
