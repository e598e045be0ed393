# `make` alone lists the targets. People and CI use the same words.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

BIN := .venv/bin
WAIT ?= 1
WORKERS ?= 2
SECONDS ?= 600
ARGS ?=
# Whole systems with leases of two or three seconds: beside another test on two cores, workers that are
# not dead are late for their beats, and what is measured is the machine.
ALONE := tests/integration/combinations
PYTEST := $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: help setup demo dashboard test test-fast test-conformance support fuzz worker-c fuzz-c check fix bench bench-engines bench-dashboard screenshots docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One stamp an extra: a repeat costs nothing, and a changed pyproject.toml installs again.
.venv/.all: pyproject.toml scripts/install
	@scripts/install all

.venv/.dev: pyproject.toml scripts/install
	@scripts/install dev

setup: .venv/.dev ## Make .venv with everything that development needs
	@echo "Ready: .venv/bin/stoker, or . .venv/bin/activate"

demo: .venv/.all ## Run every standard task on SQLite and watch (WAIT=0: end by itself)
	@$(BIN)/python -m stoker.demo $(if $(filter 0,$(WAIT)),--no-wait)

dashboard: .venv/.dev ## Build the dashboard into the package again (needs Node 20.19 or newer)
	@scripts/dashboard build

test: .venv/.dev ## Run every test (installs the servers and the browser that it starts: Debian packages)
	@scripts/install-servers
	@scripts/dashboard install
	@scripts/install-c
	@printf '\n== C worker\n'
	@$(MAKE) -C workers/c -j$(WORKERS) test-programs plugins plugins-asan plugin-fuzzers >/dev/null
	@$(MAKE) -C workers/c -j$(WORKERS) fuzzers sanitize >/dev/null
	@printf '\n== Tests\n'
	@$(PYTEST) $(if $(ARGS),$(ARGS),--ignore $(ALONE))
	@$(if $(ARGS),,printf '\n== Tests that need the machine for themselves\n'; $(BIN)/python -m pytest $(ALONE))

test-fast: .venv/.dev ## Run the tests that take less than two minutes together
	@$(PYTEST) -m "not slow and not servers" $(ARGS)
	@echo "Not run: the slow tests, and those that start PostgreSQL or Redis: make test"

test-conformance: .venv/.dev ## Prove every store against the whole contract, on real servers
	@scripts/install-servers
	@$(PYTEST) tests/conformance --all-engines $(ARGS)

support: .venv/.dev ## Prove every engine again, and write the page that says so
	@scripts/install-servers
	@$(PYTEST) tests/conformance --results docs/reference/support.json $(ARGS)
	@$(BIN)/python -m pytest $(ALONE) --results docs/reference/support.json $(ARGS)
	@$(BIN)/python -m scripts.generate_docs

fuzz: .venv/.dev ## Fuzz what the gateway reads before it believes a peer, for SECONDS=600
	@$(BIN)/python tests/fuzz/fuzz_frames.py -max_total_time=$(SECONDS) -rss_limit_mb=512 \
		-print_final_stats=1

worker-c: ## Build the worker in C and its plugins (workers/c/build)
	@scripts/install-c
	@$(MAKE) -C workers/c programs plugins

fuzz-c: ## Fuzz the frames and the JSON of the worker in C, for SECONDS=600
	@scripts/install-c
	@$(MAKE) -C workers/c fuzz SECONDS=$(SECONDS)

check: .venv/.dev ## Format, lint, types, layers, house rules, links
	@scripts/stage "Format"      $(BIN)/ruff format --check --diff
	@scripts/stage "Lint"        $(BIN)/ruff check
	@scripts/stage "Types"       $(BIN)/mypy
	@scripts/stage "Layers"      $(BIN)/lint-imports
	@scripts/stage "House rules" $(BIN)/python -m pytest -q -p no:randomly tests/repo
	@scripts/stage "Dashboard"   scripts/dashboard check

fix: .venv/.dev ## Format, and mend what ruff can mend
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: .venv/.dev ## Measure rates, latency and memory (SQLite and memory), within three minutes
	@$(BIN)/python -m benchmarks $(ARGS)

bench-engines: .venv/.dev ## Measure PostgreSQL beside SQLite, on a server of its own
	@scripts/install-servers
	@$(BIN)/python -m benchmarks.engines $(ARGS)

bench-dashboard: .venv/.dev ## Measure the dashboard with a million jobs, in a browser (some minutes)
	@scripts/install-servers
	@scripts/dashboard install
	@$(BIN)/python -m benchmarks.page $(ARGS)

screenshots: .venv/.dev ## Take the pictures of every screen again, into docs/images/dashboard
	@scripts/install-servers
	@scripts/dashboard install
	@$(BIN)/python -m scripts.screenshots $(ARGS)

docs: .venv/.dev ## Write the generated pages of docs/ again
	@$(BIN)/python -m scripts.generate_docs

clean: ## Remove caches, build leftovers and what the demo wrote; .venv stays
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage \
		.coverage.* coverage.xml dist build demo-out outbox .stoker
	@rm -rf workers/c/build
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
