# make report, make test: everything else is for those who work here. `make` alone lists it all.
PROFILE ?= rehearsal
NB ?= 04-judge
CORES ?= $(shell nproc 2>/dev/null || echo 2)
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# One thread a process: repeatable to the bit, and notebooks run side by side.
export OMP_NUM_THREADS ?= 1
export PYTHONHASHSEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help setup report notebook release test lab lint clean

help:  ## list what make can do
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 10
	@echo "profiles: $$(ls params | sed 's/.yaml//' | tr '\n' ' ')(PROFILE=…, default rehearsal)"

setup: .venv/.installed  ## make .venv with everything pinned

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=/path/to/python3.11."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@free=$$(df -Pk . | awk 'NR==2 {print int($$4/1048576)}'); [ "$$free" -ge 6 ] || \
	  { echo "Installing needs 6 GiB of disk and $(CURDIR) has $$free GiB free. Make room, or clone elsewhere."; exit 1; }
	@echo "Installing into .venv (some minutes; 3 GiB with a CPU build of torch, more with CUDA) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@mkdir -p .venv/share/jupyter/lab/settings && \
	  echo '{"@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"python": "Jupytext Notebook"}}, "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}' \
	  > .venv/share/jupyter/lab/settings/overrides.json
	@touch $@

report: params/$(PROFILE).yaml .venv/.installed  ## run a profile and render its report: make report PROFILE=ttcw
	@$(BIN)/python -m cqa_helpers.params $(PROFILE)
	@mkdir -p runs && flock --nonblock --close --conflict-exit-code 75 runs/.$(PROFILE).lock \
	  $(BIN)/snakemake --cores $(CORES) --resources gpu=1 --config profile=$(PROFILE) \
	    --nolock --rerun-incomplete --quiet all \
	  || { [ $$? -eq 75 ] && echo "Another run of $(PROFILE) is going on in this folder: let it end." \
	    || echo "Stopped. Read above, mend, and run the same command: it goes on from there."; exit 1; }
	@$(BIN)/python -m cqa_helpers.timings runs/$(PROFILE)

notebook: params/$(PROFILE).yaml .venv/.installed  ## rerun one notebook headless: make notebook NB=04-judge PROFILE=ttcw
	@$(BIN)/python -m cqa_helpers.execute $(NB) --profile $(PROFILE)

# Without a profile: the worked examples, so that one sees what a release looks like.
RELEASED = $(if $(filter command environment,$(firstword $(origin PROFILE))),$(PROFILE),examples)
release: .venv/.installed  ## write a golden set as a data set for others: make release PROFILE=phase1
	@$(BIN)/python -m cqa_helpers.params $(RELEASED)
	@$(BIN)/python -m cqa_helpers.release $(RELEASED)

params/%.yaml:
	@echo "No profile '$*'. There are: $$(ls params | sed 's/.yaml//' | tr '\n' ' ')"; exit 1

test: .venv/.installed  ## run all tests and checks
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@$(BIN)/python -m pytest

lab: .venv/.installed  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=.

lint: .venv/.installed  ## format and check the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix . && $(BIN)/mypy

clean:  ## remove the runs (the environment stays)
	rm -rf runs .snakemake .pytest_cache .mypy_cache .ruff_cache
