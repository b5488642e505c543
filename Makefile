# make run     the whole system, on http://127.0.0.1:8080      make test    the tests (SLOW=1: the slow ones too)
# make check   lint, types, import rules                       make bench   the benchmarks
# make format  what a machine can mend                         make pins    newest versions into requirements*.txt (needs uv)
# make servers   what tests of Kafka and PostgreSQL start, obtained before they run (they do it themselves, too)
# make test-compose   compose.yaml for real: image, Kafka, PostgreSQL, each part killed (needs a container engine)
#
# Each sets up what it needs in .venv, once. Needs Python 3.11 or newer; PYTHON=python3.12 picks one.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: run test servers test-compose check bench format pins
.DEFAULT_GOAL := run

run: .venv/run.stamp
	@$(BIN)/stream run

# The slow ones too, in two processes; one that hangs ends the run and is named.
ALL := $(if $(filter true,$(CI))$(filter 1,$(SLOW)),-n 2 --dist loadfile --max-worker-restart 0)
test: .venv/dev.stamp
	@$(BIN)/python -m pytest $(ALL)

servers: .venv/dev.stamp
	@$(BIN)/python -m tests.brokers

test-compose: .venv/dev.stamp
	@COMPOSE=1 $(BIN)/python -m pytest -x tests/compose

check: .venv/dev.stamp
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: .venv/dev.stamp
	@$(BIN)/python -m benchmarks

format: .venv/dev.stamp
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

COMPILE := uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url
pins:
	@$(COMPILE) --group build --output-file requirements.txt
	@$(COMPILE) --group dev --constraint requirements.txt --output-file requirements-dev.txt

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "stream needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/run.stamp: requirements.txt pyproject.toml | .venv/bin/python
	@echo "Installing stream into .venv (once) ..."
	@$(PIP) --require-hashes --requirement requirements.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: requirements-dev.txt .venv/run.stamp
	@echo "Installing the development tools into .venv (once) ..."
	@$(PIP) --require-hashes --requirement requirements-dev.txt
	@touch $@
