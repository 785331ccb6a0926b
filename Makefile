# Two commands set everything up: `make demo` and `make test`. Each makes .venv itself; a second call starts in seconds.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIN := -c constraints.txt

# uv where it is there (quicker), else venv and pip.
UV := $(shell command -v uv 2>/dev/null)
ifdef UV
MAKE_VENV = $(UV) venv --quiet --seed --python $(PYTHON) $(VENV)
INSTALL = $(UV) pip install --quiet --python $(BIN)/python $(PIN)
else
MAKE_VENV = $(PYTHON) -m venv $(VENV)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIN)
endif

.PHONY: demo loop test lint clean help

help:
	@echo "make demo   run the demonstration: no key, no network, under two minutes"
	@echo "make loop   train a teacher from recorded sessions and see what it is worth: CPU, under ten minutes"
	@echo "make test   run the tests"
	@echo "make lint   ruff, pyright and the floors of the house"
	@echo "make clean  remove .venv and what tools leave behind"

demo: $(VENV)/.base
	$(BIN)/atlas demo $(ARGS)

loop: $(VENV)/.train
	$(BIN)/python scripts/closed_loop.py --output loop $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist

$(BIN)/python:
	$(MAKE_VENV)

$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	touch $@ $(VENV)/.base

$(VENV)/.train: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[train]'
	touch $@ $(VENV)/.base
