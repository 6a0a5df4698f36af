# Every target makes the virtual environment it needs; nothing else has to be installed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PEERS  := .cache/peers
ALONE  := .cache/alone

# Without bytecode on disk each of the processes that tests start would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check bench bench-peers faults fuzz dist clean

demo: $(VENV)/server
	$(BIN)/connect-logging demo

test: $(VENV)/dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 3 --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

# The long versions of the tests in tests/faults and of transfers, and what they measured.
faults: $(VENV)/dev
	CONNECT_FAULTS=long CONNECT_TEST_KILLS=500 $(BIN)/pytest tests/faults tests/server/routes tests/server/stores \
		-n 2 --dist loadfile --timeout 1200

# Random queries against a plain reading of the protocol, and more, for an hour or CONNECT_FUZZ_SECONDS; then what the
# OpenAPI document allows and what it does not, for a sixth of that.
fuzz: $(VENV)/dev
	$(BIN)/python tests/fuzz.py
	CONNECT_FUZZ_SECONDS=$$(( $${CONNECT_FUZZ_SECONDS:-3600} / 6 )) $(BIN)/pytest -s tests/server/test_schemathesis.py

# Some twenty minutes. The processors should have nothing else to do; the ratios, which are of one run, bear a little of
# it. Prints what was to be reached and what was, and writes docs/performance.md.
bench: $(VENV)/dev $(PEERS)/ready $(ALONE)/ready
	$(BIN)/python benchmarks/run.py

# Of that, the part beside other handlers and SDKs.
bench-peers: $(VENV)/dev $(PEERS)/ready $(ALONE)/ready
	$(BIN)/python benchmarks/run.py --only emit,delivery,single_pushes,imports,outage

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_layers.py

dist: $(VENV)/dev
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage* .pytest_cache .mypy_cache .ruff_cache .cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# What the benchmarks compare with, and this package, in an environment of its own. The original client's dependencies
# no longer build; pushing does not need them.
$(PEERS)/ready: benchmarks/peers.txt setup.py
	$(PYTHON) -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers.txt --editable .
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps connect-client==0.1.1
	touch $@

# This package and nothing else, for the time that its import takes.
$(ALONE)/ready: setup.py
	$(PYTHON) -m venv --clear $(ALONE)
	$(ALONE)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

# A stamp per extra, made again when the metadata changes.
$(VENV)/server $(VENV)/dev: $(VENV)/%: setup.py pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
