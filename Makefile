# Two commands on a fresh machine: `make demo` and `make test`. Only Python ≥ 3.11, make and the package registry are needed.
PYTHON ?= python3
EXTRAS ?= dev
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: install install-dev demo test test-slow check format bench clean

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-$(EXTRAS)

demo: $(VENV)/.installed
	$(BIN)/isthmus demo --out demo

test: check
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow"

test-slow: $(VENV)/.installed-$(EXTRAS)
	$(BIN)/python -m pytest -n 2 -m slow

check: $(VENV)/.installed-$(EXTRAS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-$(EXTRAS)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-$(EXTRAS)
	$(BIN)/python benchmarks/run_all.py

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/.installed-$(EXTRAS): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[$(EXTRAS)]'
	touch $@ $(VENV)/.installed
