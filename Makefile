# What a user types every day. `make demo` and `make test` set up their own virtual environment first.

PYTHON ?= python3
VENV := .venv
SGLANG := .venv-sglang
VALIDATOR := .venv-crate
BIN := $(VENV)/bin
QUIETLY := --quiet rules host reason
SNAKEMAKE := PYTHONPATH=workflow $(BIN)/python -m m1 launch
PROFILED := $(if $(PROFILE),--workflow-profile $(PROFILE))

.DEFAULT_GOAL := help

# A misspelt variable would be no error to make, and the default would run.
KNOWN := CONFIG PROFILE PYTHON VENV SGLANG VALIDATOR CONFIRM WHOLE GPUS HOURS DOLLARS DISK CORES OFFLINE WORLD
GIVEN := $(foreach word,$(MAKEOVERRIDES),$(if $(findstring =,$(word)),$(firstword $(subst =, ,$(word)))))
$(if $(and $(findstring command,$(origin CONFIG)),$(filter demo demo-full laptop clean%,$(MAKECMDGOALS))),\
  $(error make $(MAKECMDGOALS) takes no CONFIG; make paper CONFIG="$(CONFIG)" runs a configuration))
UNKNOWN := $(filter-out $(KNOWN),$(patsubst %:,%,$(GIVEN)))
$(if $(UNKNOWN),$(error $(UNKNOWN): not known here; known are $(KNOWN)))

CONFIGURED := $(if $(CONFIG),--configfile $(CONFIG))
.PHONY: help doctor plan fit dry-run data-check cluster-check fetch demo demo-full laptop paper adopt report crate
.PHONY: test test-slow test-real test-sglang lint format pins reference
.PHONY: clean clean-scratch clean-store clean-venv

help: ## what there is to do
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "CONFIG=\"FILE …\" lays files over the default configuration, which is the demo's,"
	@echo "as in: make plan CONFIG=config/paper.yaml"

# What an environment is made from decides, not the times of files: so it is looked at each time (envs/install.py).
INSTALL = python=$$($(1)/bin/python -c '' 2> /dev/null && echo $(1)/bin/python || command -v $(PYTHON)) \
  || { echo "$(PYTHON): not found. Install Python, or name one: make PYTHON=python3.11 …"; exit 1; }; \
  "$$python" envs/install.py $(1) --python $(PYTHON) $(if $(findstring command,$(origin PYTHON)),--asked)
.PHONY: $(VENV)/.ready $(SGLANG)/.ready $(VALIDATOR)/.ready
$(VENV)/.ready:
	@$(call INSTALL,$(VENV)) --pip="-c constraints.txt -r requirements-dev.txt"

##@ first
doctor: ## what this machine lacks for CONFIG, and what to do about it; needs no virtual environment
	@PYTHONPATH=workflow $(or $(wildcard $(BIN)/python),$(PYTHON)) -m m1 doctor $(CONFIGURED)

plan: $(VENV)/.ready ## calls, tokens, dollars, hours and jobs of CONFIG (make plan CONFIG=config/paper.yaml)
	@PYTHONPATH=workflow $(BIN)/python -m m1 plan $(CONFIGURED)
	@echo
	-@$(SNAKEMAKE) -n all $(CONFIGURED) $(PROFILED) $(QUIETLY)

FITTED := $(if $(GPUS),--gpus $(GPUS)) $(if $(DOLLARS),--dollars $(DOLLARS)) $(if $(DISK),--disk $(DISK)) \
  $(if $(CORES),--cores $(CORES)) $(if $(OFFLINE),--offline) $(if $(WORLD),--world) $(if $(ALL),--all)
fit: $(VENV)/.ready ## what of the paper fits HOURS, GPUS (1x24, 8x80:H100, 0), DOLLARS and DISK (GB), as an overlay
	@PYTHONPATH=workflow $(BIN)/python -m m1 fit --hours $(or $(HOURS),8) $(FITTED)

dry-run: $(VENV)/.ready ## every job of CONFIG that would run: computed, or taken from the store, and why
	@$(SNAKEMAKE) -n all $(CONFIGURED) $(PROFILED) $(QUIETLY)

data-check: $(VENV)/.ready ## are the sets of CONFIG (by default of config/paper.yaml) there, and the expected ones?
	@PYTHONPATH=workflow $(BIN)/python -m m1 check-data --configfile $(or $(CONFIG),config/paper.yaml)

cluster-check: $(VENV)/.ready ## what of CONFIG would fail on a cluster with PROFILE (profiles/slurm)
	@PYTHONPATH=workflow $(BIN)/python -m m1 check-cluster $(CONFIGURED) --profile $(or $(PROFILE),profiles/slurm)

fetch: $(VENV)/.ready ## models and sets of CONFIG from the hub, for nodes without network; pins revisions
	$(SNAKEMAKE) fetch $(CONFIGURED) $(PROFILED) $(QUIETLY)
	@PYTHONPATH=workflow $(BIN)/python -m m1 pin $(CONFIGURED)

##@ run
demo: $(VENV)/.ready ## the paper on the embedded world, without Table 2 (about four minutes on two cores)
	$(SNAKEMAKE) all $(PROFILED) $(QUIETLY)
	@echo "Open results/report.html in a browser (the embedded world: it says nothing about medicine)."

demo-full: $(VENV)/.ready ## the demo, and the ablation models of Table 2 (config/overlays/demo-full.yaml)
	$(SNAKEMAKE) all --configfile config/overlays/demo-full.yaml $(PROFILED) $(QUIETLY)
	@echo "Open results/report.html in a browser (the embedded world: it says nothing about medicine)."

laptop: $(VENV)/.ready ## the paper on a real model of 135 million parameters: no GPU, no key, an hour on four cores
	$(SNAKEMAKE) all --configfile config/paper.yaml config/overlays/laptop.yaml $(PROFILED) $(QUIETLY)
	@echo "Open results/laptop/report.html in a browser (a model this small answers near chance)."

paper: $(VENV)/.ready ## the paper itself: GPUs, a teacher and a labeller, or what the authors published
	$(SNAKEMAKE) all --configfile $(or $(CONFIG),config/paper.yaml) $(PROFILED) $(QUIETLY)

adopt: $(VENV)/.ready ## take results of CONFIG as they are, brought here or changed by hand; says what changed
	$(SNAKEMAKE) all --touch $(CONFIGURED) $(PROFILED) $(QUIETLY)

report: $(VENV)/.ready ## report.zip: Snakemake's own report of what CONFIG made, with how each file was made
	$(BIN)/snakemake all $(CONFIGURED) --report report.zip

crate: $(VENV)/.ready ## crate.zip: a Workflow Run RO-Crate of what CONFIG made (WHOLE=1: with data and models)
	@PYTHONPATH=workflow $(BIN)/python -m m1 crate $(CONFIGURED) $(if $(WHOLE),--whole)

##@ work on it
# Four processes on two cores: half of the time is waiting, for servers, schedulers and kills.
PYTEST := $(BIN)/python -m pytest -n 4 --dist worksteal
test: $(VENV)/.ready ## the tests, but for those that take long by nature (six minutes on two cores)
	$(PYTEST) -m "not slow and not real"

# The crates' validator excludes the core's pins: an environment of its own.
$(VALIDATOR)/.ready:
	@$(call INSTALL,$(VALIDATOR)) --pip="--no-deps -r requirements-crate.txt"

test-slow: $(VENV)/.ready $(VALIDATOR)/.ready ## what make test leaves out: SLURM, jobs killed again and again
	M1_CRATE_VALIDATOR=$(abspath $(VALIDATOR))/bin/python $(PYTEST) -m slow

test-real: $(VENV)/.ready ## make laptop in short, on real weights and text in M1_SHARED_DATA (fifteen minutes)
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest -s tests/real

# SGLang's pins exclude the core's and ask for CUDA. So it has an environment of its own, without dependencies but
# torch's.
$(SGLANG)/.ready:
	@$(call INSTALL,$(SGLANG)) --pip="--no-deps -r requirements-sglang-cpu.txt"
	@cp tests/sglang_cpu/sitecustomize.py $(SGLANG)/lib/python3*/site-packages/

test-sglang: $(VENV)/.ready $(SGLANG)/.ready ## the paper's engine for real, on a CPU (3.4 GB, ten minutes)
	OMP_NUM_THREADS=1 M1_SGLANG_PYTHON=$(abspath $(SGLANG))/bin/python $(BIN)/python -m pytest \
	  tests/engines/test_engines_sglang.py

WRITTEN = *.md docs/*.md config benchmarks/*.md resources/paper/*.md
lint: $(VENV)/.ready ## ruff, mypy, snakefmt, snakemake --lint; codespell and proselint on what is written
	$(BIN)/ruff check workflow tests benchmarks envs
	$(BIN)/ruff format --check workflow tests benchmarks envs
	$(BIN)/mypy workflow/m1 envs/pin.py envs/install.py
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile workflow/rules
	$(SNAKEMAKE) --lint
	$(BIN)/codespell $(WRITTEN) Makefile Snakefile pyproject.toml profiles envs workflow tests benchmarks
	$(BIN)/proselint check $(WRITTEN)

format: $(VENV)/.ready ## format everything
	$(BIN)/ruff check --fix workflow tests benchmarks envs
	$(BIN)/ruff format workflow tests benchmarks envs
	$(BIN)/snakefmt Snakefile workflow/Snakefile workflow/rules

pins: $(VENV)/.ready ## envs/*.yaml, after a change in requirements.txt or constraints.txt (uv, network)
	$(BIN)/python envs/pin.py

reference: $(VENV)/.ready ## what is made from the configuration's schema: comments, config/reference.md, overlays
	@PYTHONPATH=workflow $(BIN)/python -m m1 reference

##@ clean
clean: ## remove results and logs of all configurations; store, checkpoints and the virtual environment stay
	@test "$(CONFIRM)" = yes -o -z "$(wildcard results/*/train)" || { echo "$(wildcard results/*/train): trained models" \
	  "would go, and only those that store/train keeps come back without a training." \
	  "To remove them, too: make clean CONFIRM=yes"; exit 1; }
	rm -rf results logs

clean-scratch: ## remove checkpoints of unfinished trainings, which then begin anew; all else stays
	rm -rf scratch

clean-store: ## remove what was paid for: calls, generations, trained models (CONFIRM=yes); all else stays
	@test "$(CONFIRM)" = yes || { echo "store/ holds calls, generations and trained models that were paid for; they" \
	  "would be made again. To remove it: make clean-store CONFIRM=yes"; exit 1; }
	rm -rf store

clean-venv: ## remove the virtual environments, unless they are in use; results, store and scratch stay
	@$(call INSTALL,$(VENV)) --remove
	@$(call INSTALL,$(SGLANG)) --remove
	@$(call INSTALL,$(VALIDATOR)) --remove
