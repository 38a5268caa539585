# Two commands: `make demo` runs the main job, `make test` passes the tests. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out

.PHONY: demo test lint docs performance clean help
.DEFAULT_GOAL := help

help:  ## Say what there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.demo  ## Plan Memphis, simulate its build-out, train a small Grok, let it speak
	@PATH="$(abspath $(BIN)):$$PATH" sh scripts/demo.sh "$(OUT)"

test: lint  ## Check types, style and floors, and run every test
	$(BIN)/python -m pytest

lint: $(VENV)/.dev  ## Check types, style and floors alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.dev  ## Write the generated pages of docs/ anew
	$(BIN)/colossus validate --write docs
	$(BIN)/python benchmarks/scenarios.py
	$(BIN)/python benchmarks/published_hours.py --write

performance: $(VENV)/.dev  ## Measure what needs no GPU, and write docs/performance.md (half an hour)
	$(BIN)/python benchmarks/performance.py --run $(if $(PEERS),--peers $(PEERS))

clean:  ## Remove what these commands made
	rm -rf $(VENV) $(OUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.demo $(VENV)/.dev: pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" sh scripts/setup.sh "$(VENV)" "$(patsubst .%,%,$(notdir $@))"
	@touch $@
