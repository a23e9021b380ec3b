PYTHON ?= python3
VENV := .venv
PINS := constraints.txt
BIN := $(VENV)/bin

.PHONY: demo test test-oldest test-newest lint docs clean

demo: $(VENV)/examples.stamp  ## Tune the depth of a stacked LSTM on real data
	MPLBACKEND=Agg $(BIN)/python examples/plot_tune_depth.py

test: $(VENV)/test.stamp  ## Run the tests
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-oldest:  ## Run the tests with the oldest versions that the package declares
	$(MAKE) test VENV=.venv-oldest PINS=constraints-oldest.txt

test-newest:  ## Run the tests with the newest release of everything
	rm -rf .venv-newest
	$(MAKE) test VENV=.venv-newest PINS=

lint: $(VENV)/dev.stamp  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/docs.stamp  ## Build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest build dist docs/_build docs/api docs/auto_examples results

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/%.stamp: pyproject.toml $(PINS) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet $(PINS:%=--constraint %) --editable '.[$*]'
	touch $@
