# Every target makes the virtual environment it needs; nothing else has to be installed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test check bench faults fuzz dist clean

demo: $(VENV)/server
	$(BIN)/connect-logging demo

test: $(VENV)/dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile
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

# Some minutes. The processors should have nothing else to do; the ratios, which are of one run, bear a little of it.
bench: $(VENV)/dev
	$(BIN)/python benchmarks/emit.py
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/small_pushes.py
	$(BIN)/python benchmarks/query.py

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

# A stamp per extra, made again when the metadata changes.
$(VENV)/server $(VENV)/dev: $(VENV)/%: setup.py pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
