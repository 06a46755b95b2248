# Each target makes the virtual environment it needs by itself, from the hash-locked files; the second time that is instant.
# `make check` is what CI runs. PYTHON=… chooses the interpreter (3.11 or newer), PYTEST=… passes options to pytest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

NEWER := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$p" -c '$(NEWER)' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet
COMPILE = env -u PIP_FIND_LINKS CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras \
	--allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-options $(if $(UPGRADE),--upgrade)
PYTEST ?=
BENCH ?=

# Environment of the tools: nothing is written outside the checkout, nothing asks a question.
export PIP_REQUIRE_VIRTUALENV := 1

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.product ## the worked example: upstream, sidecar, an agent's morning; stays until Ctrl-C
	@$(BIN)/toolgate demo

test: $(VENV)/.tools ## the example's policies, unit, golden, wire and property tests, a seeded sample of the long runs
	$(BIN)/toolgate test --fail-under 100
	$(BIN)/pytest -q -rs -n 2 --dist worksteal --hypothesis-profile=ci $(PYTEST)

check: lint types imports test ## everything CI runs: lint, types, imports, test (which includes docs)

soak: $(VENV)/.tools ## what takes long: vendors' documents in full, kill -9 under load
	$(BIN)/pytest -q -rs -m soak $(PYTEST)

e2e: $(VENV)/.tools ## against real servers (installs Debian's prometheus where it can)
	bash tests/e2e/run.sh $(PYTEST)

bench: $(VENV)/.tools ## CPU per call against a bare aiohttp pass-through, in one run
	$(BIN)/python -m bench $(BENCH)

fmt: $(VENV)/.tools ## write the code in the formatter's form, fix what can be fixed
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

lint: $(VENV)/.tools ## ruff, check only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tools ## mypy --strict
	$(BIN)/mypy

imports: $(VENV)/.tools ## the arrows of docs/design.md
	$(BIN)/lint-imports

docs: $(VENV)/.tools ## write the generated pages (errors, settings, toolspec reference) anew
	$(BIN)/python -m docs.generate

lock: $(VENV)/.tools ## write the lock files after a change of dependencies (UPGRADE=1: the newest of everything)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "make lock: the locks are written by Python 3.11, the oldest supported: make clean, then make lock PYTHON=python3.11" >&2; exit 1; }
	$(COMPILE) --output-file requirements-build.lock requirements-build.in
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(COMPILE) --output-file requirements-dev.lock requirements-dev.in

clean: ## remove what the targets made (the virtual environment, caches, build output)
	rm -rf $(VENV) build dist proxy/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# -- the virtual environment ------------------------------------------------------------------------------------

$(VENV)/.made:
	@[ -n "$(PYTHON)" ] || { echo "make: Toolgate needs Python 3.11 or newer as python3; found $$(python3 --version 2>&1 || true). Install it, or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c '$(NEWER)' || { echo "make: Toolgate needs Python 3.11 or newer; $(PYTHON) is $$("$(PYTHON)" --version 2>&1)" >&2; exit 1; }
	@[ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); echo "make: $(PYTHON) cannot make a virtual environment (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@touch $@
	@echo "make: made $(VENV); installing what it needs, once; this takes a minute" >&2

# --no-deps: the lock is whole, so nothing is resolved; a wheel whose digest differs is refused.
$(VENV)/.product: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/.made
	@$(PIP) --no-deps --require-hashes -r requirements-build.lock -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.tools: requirements-dev.lock pyproject.toml | $(VENV)/.made
	@$(PIP) --no-deps --require-hashes -r requirements-dev.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: help run test check soak e2e bench fmt lint types imports docs lock clean
