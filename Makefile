# `make run` shows the whole story; `make help` lists the rest.
SHELL := /bin/bash
VENV := .venv
OLDEST := .venv-oldest
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
# Files of tests side by side; a worker that dies is one failed test, not the end.
TEST := -m pytest --numprocesses auto --maxprocesses 4 \
	--dist loadfile --no-loadscope-reorder

.PHONY: help run lab test test-oldest check format figures results sources bench address clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s%s\n", $$1, $$2}' Makefile

# The newest versions that pip takes; in a folder of its own, the oldest supported ones.
$(OLDEST)/.ready: LIMITS := --constraint constraints.txt
$(OLDEST)/.ready: constraints.txt

$(VENV)/.ready $(OLDEST)/.ready: pyproject.toml
	@echo "Installing into $(@D); this takes a few minutes once."
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed."; exit 1; }
	@test -x $(@D)/bin/python || python3 -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --quiet --disable-pip-version-check \
		$(LIMITS) --editable ".[dev]"
	@touch $@

run: $(READY)  ## run all notebooks on the demo images, with a report
	@$(PYTHON) -m tools.run_notebooks --data "$${STL_DATA:-demo}"

lab: $(READY)  ## open the notebooks in JupyterLab
	@$(PYTHON) -m jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root)

test: $(READY)  ## run all tests, the notebooks among them
	@$(PYTHON) $(TEST)

# Without this, an old debugger prints advice into the notebooks' output.
test-oldest: export PYDEVD_DISABLE_FILE_VALIDATION := 1
test-oldest: $(OLDEST)/.ready  ## run all tests on the oldest supported versions
	@$(OLDEST)/bin/python $(TEST)

check: $(READY)  ## check style of code and notebooks, change nothing
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .

format: $(READY)  ## format code and notebooks
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

figures: $(READY)  ## draw the figures in images/ again
	@$(PYTHON) -m tools.figures.draw

results: $(READY)  ## write the tables of README.md and docs/results.md from results/
	@$(PYTHON) -m helpers results --readme

sources: $(READY)  ## bring the source code that notebooks show up to date
	@$(PYTHON) -m tools.notebook_sources

bench: $(READY)  ## measure training steps; the table goes into benchmarks/README.md
	@$(PYTHON) -m benchmarks.throughput
	@$(PYTHON) -m benchmarks.tables

address: $(READY)  ## URL=https://github.com/OWNER/REPOSITORY: write badges and setup cells
	@$(PYTHON) -m tools.set_address "$(URL)"

.PHONY: zip
zip: ZIP := runs/self-supervised-stl10.zip
zip:  ## pack the committed project, for Google Drive
	@mkdir -p runs
	@git archive --format=zip --prefix=self-supervised-stl10/ --output="$(ZIP)" HEAD
	@echo "Upload $(ZIP) to My Drive."

clean:  ## remove all that running and testing left behind, but your runs/results
	@mkdir -p runs && find runs -mindepth 1 -maxdepth 1 ! -name results -exec rm -rf {} +
	@rm -rf .pytest_cache .ruff_cache .hypothesis
