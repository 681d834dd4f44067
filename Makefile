# Everything runs in .venv, created from hashed lock files with plain venv and pip; pip uses the machine's own index settings.

PYTHON ?= python3
VENV := .venv
BENCH_VENV := .venv-bench
WORKERS ?= 2
TOOLS_VENV := .venv-tools
FIX_VENV := .venv-fix
BIN := $(VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check

# The resolver of the lock files. Universal: one file serves every platform and Python that pyproject.toml allows.
COMPILE := $(TOOLS_VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header $(LOCK_FLAGS)

.DEFAULT_GOAL := help

.PHONY: help
help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: env
env: $(VENV)/.stamp  ## Create .venv: the service, its tests and its tools.

.PHONY: env-fix
env-fix: $(FIX_VENV)/.stamp  ## Create .venv-fix: the FIX gateway and its tests; builds QuickFIX once, which takes about five minutes.

.PHONY: demo
demo: env  ## Watch a day of order books become schedules.
	$(BIN)/impactd demo $(ARGS)

.PHONY: test
test: lint  ## Lint, then run all tests, in two processes (WORKERS=0 for one); broker tests need Docker, or Java 17 and Maven.
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

.PHONY: lint
lint: env  ## Style, types and layers.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: env  ## Format the sources.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: docs
docs: env  ## Build the documentation as a site in build/site; a warning is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.PHONY: fuzz
fuzz: env  ## Send mutated messages of every kind: each must be answered, good ones unharmed (N=100000 SEED=1).
	$(BIN)/python -W error -m tests.fuzz -n $(or $(N),100000) --seed $(or $(SEED),1) $(ARGS)

.PHONY: bench
bench: env $(BENCH_VENV)/.stamp  ## Measure this machine's ratios; print a table and JSON.
	$(BENCH_VENV)/bin/python -m tests.benchmarks $(ARGS)

.PHONY: chaos
chaos: env  ## Kill, freeze and cut off a running service, and check that it published everything once (ROUNDS=10 SEED= VARIANT=).
	$(BIN)/python -m tests.chaos --rounds $(or $(ROUNDS),10) $(if $(SEED),--seed $(SEED)) $(if $(VARIANT),--variant $(VARIANT)) $(ARGS)

.PHONY: simulate
simulate: env  ## Bad days of several processes and a cluster in virtual time, from seeds (SEEDS=1000 FIRST=0 VARIANT=).
	$(BIN)/python -m tests.simulate --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0) $(if $(VARIANT),--variant $(VARIANT)) $(ARGS)

.PHONY: notebooks
notebooks: env  ## Generate the notebooks' .ipynb from their text.
	$(BIN)/jupytext --quiet --to ipynb notebooks/*.py

.PHONY: screenshots
screenshots: env  ## Take screenshots of the live page during a demo, in build/screenshots; needs Chromium.
	$(BIN)/python -m tests.screenshots $(ARGS)

.PHONY: manifests
manifests: env  ## Check everything in deploy/; the first time Go builds kustomize and Prometheus, which takes minutes.
	$(BIN)/python -m tests.deploy.tools
	IMPACTD_REQUIRE_TOOLS=1 $(BIN)/python -m pytest -m "not broker and not slow" tests/deploy $(ARGS)

.PHONY: soak
soak: env  ## Run the service at a fixed rate: its memory, and how long orders and minutes wait (RATE=20000 MINUTES=10).
	$(BIN)/python -m tests.soak --rate $(or $(RATE),20000) --minutes $(or $(MINUTES),10) $(ARGS)

.PHONY: image
image:  ## Build the container image with Docker (IMAGE=impactd BASE=python:3.12-slim EXTRAS= ARGS=).
	DOCKER_BUILDKIT=1 docker build \
	  $(if $(BASE),--build-arg BASE=$(BASE)) $(if $(EXTRAS),--build-arg EXTRAS=$(EXTRAS)) \
	  --build-arg VERSION=$(shell sed -n 's/^__version__.*"\(.*\)"$$/\1/p' daemon/impactd/__about__.py) \
	  --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) \
	  --tag $(or $(IMAGE),impactd) $(ARGS) .

.PHONY: lock
lock: $(TOOLS_VENV)/.stamp  ## Resolve the lock files (LOCK_FLAGS=--upgrade for newer versions).
	$(COMPILE) pyproject.toml --extra dev --output-file requirements/dev.lock
	$(COMPILE) pyproject.toml --output-file requirements/run.lock --constraint requirements/dev.lock
	$(COMPILE) pyproject.toml --extra solvers --output-file requirements/solvers.lock --constraint requirements/dev.lock
	$(COMPILE) pyproject.toml --extra research --output-file requirements/research.lock --constraint requirements/dev.lock
	$(COMPILE) pyproject.toml --extra fix-test --output-file requirements/fix.lock --constraint requirements/dev.lock
	$(COMPILE) pyproject.toml --extra bench --output-file requirements/bench.lock
	$(COMPILE) requirements/build.in --output-file requirements/build.lock --constraint requirements/dev.lock
	$(COMPILE) requirements/tools.in --output-file requirements/tools.lock

.PHONY: clean
clean:  ## Remove the environments and every cache.
	rm -rf $(VENV) $(BENCH_VENV) $(FIX_VENV) $(TOOLS_VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find daemon tests -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call make_venv,directory,lock file): from scratch each time, so that nothing that left the lock stays installed.
define make_venv
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) here: install Python 3.11 or later, or set its path: make PYTHON=/path/to/python3 $@" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1): impactd needs Python 3.11 or later; set its path: make PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(1)
	@echo "installing what $(2) names into $(1):"
	$(1)/bin/python -m pip install $(filter-out --quiet,$(PIP_FLAGS)) --progress-bar off --require-hashes --requirement $(2)
endef

# $(call use_sources,directory): the package is the sources here, without what installing it would bring.
define use_sources
	@echo "$(CURDIR)/daemon" > "$$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/impactd-sources.pth"
endef

# In two steps: a change in pyproject.toml that leaves the lock alone does not fetch everything again.  What the service
# needs comes first: its kernels compile while the rest is fetched, and say so while pip is silent.
$(VENV)/.locked: requirements/dev.lock requirements/run.lock
	$(call make_venv,$(VENV),requirements/run.lock)
	@echo "installing what requirements/dev.lock names into $(VENV), while the kernels compile:"
	@PYTHONPATH=$(CURDIR)/daemon $(BIN)/python -m impactd compile --config replay_data/impactd.toml & compiling=$$!; \
	$(BIN)/python -m pip install $(filter-out --quiet,$(PIP_FLAGS)) --progress-bar off --require-hashes --requirement requirements/dev.lock; \
	installed=$$?; wait $$compiling || echo "the kernels did not compile: the first command that needs them does it"; exit $$installed
	@touch $@

$(VENV)/.stamp: $(VENV)/.locked pyproject.toml
	$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable .
	@touch $@

$(BENCH_VENV)/.stamp: requirements/bench.lock pyproject.toml
	$(call make_venv,$(BENCH_VENV),requirements/bench.lock)
	$(call use_sources,$(BENCH_VENV))
	@touch $@

$(FIX_VENV)/.stamp: requirements/fix.lock
	$(call make_venv,$(FIX_VENV),requirements/fix.lock)
	$(call use_sources,$(FIX_VENV))
	@touch $@

$(TOOLS_VENV)/.stamp: requirements/tools.lock
	$(call make_venv,$(TOOLS_VENV),requirements/tools.lock)
	@touch $@
