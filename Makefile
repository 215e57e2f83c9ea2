# Every target sets itself up: a fresh machine needs git, make and Python 3.11 or newer with venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := $(BIN)/uv pip

# What runs anywhere; .ci/run runs the rest against real engines.
WITHOUT_ENGINES := not docker and not podman and not postgres

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo up test lint format bench docs lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## watch a real training job go through a queue on this machine
	@RUNYARD_HOME=$(CURDIR)/.runyard $(BIN)/runyard up -- \
	    $(BIN)/runyard launch -u examples/digits -E "python train.py" -q default --follow
	@echo "$$AGAIN"

# The demo's server is gone when it ends; what it knows is not.
define AGAIN

See it again, and launch more:
  export RUNYARD_HOME=$$PWD/.runyard PATH=$$PWD/$(BIN):$$PATH
  runyard up --detach
  runyard run list
  runyard logs RUN
  runyard up --stop
endef
export AGAIN

up: $(READY) ## start a server and an agent here; stop them with Ctrl-C
	@$(BIN)/runyard up

test: $(READY) ## run every test that needs no Docker, podman or PostgreSQL
	$(BIN)/pytest -n auto -m "$(WITHOUT_ENGINES)"

lint: $(READY) ## check style, types and the layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## rewrite the code in the project's style
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(READY) ## measure speed and memory beside the bare floor
	$(BIN)/python bench/run.py

docs: $(READY) ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

LOCK := $(UV) compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-header --all-extras $(if $(UPGRADE),--upgrade)

lock: $(READY) ## renew requirements/*.txt from pyproject.toml (UPGRADE=1 takes newer versions)
	$(LOCK) pyproject.toml --group dev --group docs --output-file requirements/dev.txt
	$(LOCK) pyproject.toml --constraint requirements/dev.txt --no-annotate \
	    --output-file requirements/runtime.txt

clean: ## remove everything that can be made again
	rm -rf $(VENV) .runyard build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	    .import_linter_cache .schemathesis
	find src tests bench examples docs -name __pycache__ -type d -prune -exec rm -rf {} +

# uv comes from the lock too, by its hash; it then installs the rest, and the project itself
# without build isolation, so that nothing unpinned is ever fetched.
$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Runyard needs Python 3.11 \
	or newer, this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	awk '/^[^ #]/ {mine = /^uv==/} mine' requirements/dev.txt > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	    --requirement $(VENV)/uv.txt

$(READY): pyproject.toml requirements/dev.txt | $(BIN)/uv
	$(UV) install --quiet --python $(BIN)/python --require-hashes --requirement requirements/dev.txt
	$(UV) install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
