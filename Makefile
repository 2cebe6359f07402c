# What a person does with a clone. Each target makes the environment in .venv itself when it is missing or out of date.
#
#   make demo PYTHON=/path/to/python3    another interpreter (3.11 or newer)
#   make demo TORCH_INDEX=URL            where torch comes from; see tools/install.sh
#   make test WORKERS=8 KERNELS=8        more test processes, more notebooks at a time

VENV = .venv
BIN = $(VENV)/bin
# For two cores: tests wait for processes that they start, so that two of them leave a core idle now and then.
WORKERS = 3
KERNELS = 2

# One thread per process: two test processes with a thread pool each would fight over the cores. And compiled modules are
# kept, whatever the environment says: hundreds of processes would compile torch again, two seconds each.
TEST_ENV = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=

.PHONY: help demo course install test check lint notebooks proofs site clean

help:
	@echo "make demo       train a recogniser on the bundled speech and show what it does (some minutes)"
	@echo "make course     your workspace with the chapters, opened in JupyterLab"
	@echo "make install    what the course needs, and nothing started (for containers)"
	@echo "make test       everything: lint, types, all tests with coverage, notebooks"
	@echo "make check      quick unit tests"
	@echo "make lint       ruff and mypy"
	@echo "make notebooks  stubs, chapters/*.ipynb and solutions/*.ipynb from the library and chapters/*.py"
	@echo "make proofs     the table that shows that the checks of the exercises can be trusted"
	@echo "make site       the course as web pages, in build/site; needs no network"
	@echo "make clean      remove caches and build products (.venv, runs/ and data stay)"

demo: $(VENV)/.installed
	$(BIN)/asr-tutorial demo

course: $(VENV)/.installed-course
	$(BIN)/asr-tutorial start workspace
	$(BIN)/jupyter lab --notebook-dir=workspace

install: $(VENV)/.installed-course

# Lines are counted in the first part alone: counting makes notebooks a sixth slower.
test: lint
	$(TEST_ENV) $(BIN)/python -m pytest tests -n $(WORKERS) --dist loadscope --durations=40 \
		--cov=asr_tutorial --cov-report=term --cov-fail-under=90
	$(TEST_ENV) $(BIN)/python -m pytest --nbval chapters solutions -n $(KERNELS) --dist loadscope --durations=20

check: $(VENV)/.installed-dev
	$(TEST_ENV) $(BIN)/python -m pytest tests -q -m "not slow" -n $(WORKERS) --dist loadscope

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: $(VENV)/.installed-dev
	$(BIN)/python tools/notebooks.py

proofs: $(VENV)/.installed-dev
	$(BIN)/python tools/proofs.py

site: $(VENV)/.installed-dev
	$(BIN)/python site/build.py

clean:
	rm -rf build dist .coverage .coverage.* .pytest_cache .ruff_cache .mypy_cache *.egg-info
	find asr_tutorial tests tools data -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt tools/install.sh
	sh tools/install.sh $(VENV) ""
	touch $@

$(VENV)/.installed-course: pyproject.toml constraints.txt tools/install.sh
	sh tools/install.sh $(VENV) "course,serve"
	touch $(VENV)/.installed $@

# What the demo needs is part of this, so both are up to date afterwards.
$(VENV)/.installed-dev: pyproject.toml constraints.txt tools/install.sh
	sh tools/install.sh $(VENV) "dev,serve,site,wandb"
	touch $(VENV)/.installed $@
