# The everyday commands; `make help` lists them. Targets that need a virtual environment make it first.

PYTHON ?= python3
VENV := .venv
SGLANG := .venv-sglang
VALIDATOR := .venv-crate
BIN := $(VENV)/bin
QUIETLY := --quiet rules host reason
SNAKEMAKE := PYTHONPATH=workflow $(BIN)/python -m m1 launch
PROFILED := $(if $(PROFILE),--workflow-profile $(PROFILE))

.DEFAULT_GOAL := help

# make ignores an unknown variable, so a misspelt CONFIG would run the default configuration: refuse what is not KNOWN.
KNOWN := CONFIG PROFILE PYTHON VENV SGLANG VALIDATOR CONFIRM WHOLE GPUS HOURS DOLLARS DISK CORES OFFLINE WORLD ALL
GIVEN := $(foreach word,$(MAKEOVERRIDES),$(if $(findstring =,$(word)),$(firstword $(subst =, ,$(word)))))
$(if $(and $(findstring command,$(origin CONFIG)),$(filter demo demo-full laptop clean%,$(MAKECMDGOALS))),\
  $(error make $(MAKECMDGOALS) takes no CONFIG; make paper CONFIG="$(CONFIG)" runs a configuration))
UNKNOWN := $(filter-out $(KNOWN),$(patsubst %:,%,$(GIVEN)))
$(if $(UNKNOWN),$(error $(UNKNOWN): not known here; known are $(KNOWN)))

CONFIGURED := $(if $(CONFIG),--configfile $(CONFIG))
.PHONY: help doctor plan fit dry-run data-check cluster-check fetch demo demo-full laptop paper adopt report crate
.PHONY: test test-slow test-real test-sglang lint format pins reference
.PHONY: clean clean-scratch clean-store clean-venv

help: ## list these targets
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "CONFIG=\"FILE …\" names files that override the default configuration, which is the demo's."
	@echo "Without it, paper, data-check and fit take config/paper.yaml, all other targets the demo."

# Whether an environment must be renewed depends on the Python and the requirements it was made from, not on the times
# of files. So its target is phony, and envs/install.py compares them each time.
INSTALL = python=$$($(1)/bin/python -c '' 2> /dev/null && echo $(1)/bin/python || command -v $(PYTHON)) \
  || { echo "$(PYTHON): not found. Install Python, or name one: make PYTHON=python3.11 …"; exit 1; }; \
  "$$python" envs/install.py $(1) --python $(PYTHON) $(if $(findstring command,$(origin PYTHON)),--asked)
.PHONY: $(VENV)/.ready $(SGLANG)/.ready $(VALIDATOR)/.ready
$(VENV)/.ready:
	@$(call INSTALL,$(VENV)) --pip="-c constraints.txt -r requirements-dev.txt"

##@ prepare a run
doctor: ## check what this machine lacks for CONFIG, and what to do about it; needs no virtual environment
	@$(call INSTALL,$(VENV)) --check
	@PYTHONPATH=workflow $(or $(wildcard $(BIN)/python),$(PYTHON)) -m m1 doctor $(CONFIGURED)

plan: $(VENV)/.ready ## estimate the calls, tokens, dollars, hours and jobs that CONFIG will need
	@PYTHONPATH=workflow $(BIN)/python -m m1 plan $(CONFIGURED)
	@echo
	-@$(SNAKEMAKE) -n all $(CONFIGURED) $(PROFILED) $(QUIETLY)

FITTED := $(if $(GPUS),--gpus $(GPUS)) $(if $(DOLLARS),--dollars $(DOLLARS)) $(if $(DISK),--disk $(DISK)) \
  $(if $(CORES),--cores $(CORES)) $(if $(OFFLINE),--offline) $(if $(WORLD),--world) $(if $(ALL),--all) $(CONFIGURED)
fit: $(VENV)/.ready ## find what fits HOURS (8), GPUS (8x80:H100), DOLLARS, DISK (GB), CORES; OFFLINE=1, WORLD=1, ALL=1
	@PYTHONPATH=workflow $(BIN)/python -m m1 fit --hours $(or $(HOURS),8) $(FITTED)

dry-run: $(VENV)/.ready ## list every job of CONFIG that would run, why, and whether it computes or reads the store
	@$(SNAKEMAKE) -n all $(CONFIGURED) $(PROFILED) $(QUIETLY)

data-check: $(VENV)/.ready ## check that the data sets of CONFIG are there and are the expected ones
	@PYTHONPATH=workflow $(BIN)/python -m m1 check-data --configfile $(or $(CONFIG),config/paper.yaml)

cluster-check: $(VENV)/.ready ## find what of CONFIG would fail on a cluster with PROFILE (profiles/slurm)
	@PYTHONPATH=workflow $(BIN)/python -m m1 check-cluster $(CONFIGURED) --profile $(or $(PROFILE),profiles/slurm)

fetch: $(VENV)/.ready ## download and pin what CONFIG needs from the hub, for nodes without network
	$(SNAKEMAKE) fetch $(CONFIGURED) $(PROFILED) $(QUIETLY)
	@PYTHONPATH=workflow $(BIN)/python -m m1 pin $(CONFIGURED)

##@ run
demo: $(VENV)/.ready ## run the paper, without Table 2, on the embedded world (four to eight minutes on two cores)
	$(SNAKEMAKE) all $(PROFILED) $(QUIETLY)
	@echo "Open results/report.html in a browser (the embedded world: it says nothing about medicine)."

demo-full: $(VENV)/.ready ## run the demo with the ablation models of Table 2 (config/overlays/demo-full.yaml)
	$(SNAKEMAKE) all --configfile config/overlays/demo-full.yaml $(PROFILED) $(QUIETLY)
	@echo "Open results/report.html in a browser (the embedded world: it says nothing about medicine)."

laptop: $(VENV)/.ready ## run the paper with a real model of 135 million parameters: no GPU, one hour (estimated)
	$(SNAKEMAKE) all --configfile config/paper.yaml config/overlays/laptop.yaml $(PROFILED) $(QUIETLY)
	@echo "Open results/laptop/report.html in a browser (a model this small answers near chance)."

paper: $(VENV)/.ready ## run CONFIG; the paper itself needs GPUs, and a teacher and a labeller or the authors' data
	$(SNAKEMAKE) all --configfile $(or $(CONFIG),config/paper.yaml) $(PROFILED) $(QUIETLY)

adopt: $(VENV)/.ready ## accept the results of CONFIG as they are (copied here, or edited), and say what changed
	$(SNAKEMAKE) all --touch $(CONFIGURED) $(PROFILED) $(QUIETLY)

report: $(VENV)/.ready ## write report.zip, Snakemake's own report of the results and of how each file was made
	$(BIN)/python -m snakemake all $(CONFIGURED) --report report.zip

crate: $(VENV)/.ready ## write crate.zip, a Workflow Run RO-Crate of the results (WHOLE=1: with data and models)
	@PYTHONPATH=workflow $(BIN)/python -m m1 crate $(CONFIGURED) $(if $(WHOLE),--whole)

##@ develop
# Four processes on two cores, because tests spend half of their time waiting for servers, schedulers and killed jobs.
PYTEST := $(BIN)/python -m pytest -n 4 --dist worksteal
test: $(VENV)/.ready ## run the tests, except the slow ones (six to twelve minutes on two cores)
	$(PYTEST) -m "not slow and not real"

# The validator of crates conflicts with our pins, so it has its own environment.
$(VALIDATOR)/.ready:
	@$(call INSTALL,$(VALIDATOR)) --pip="--no-deps -r requirements-crate.txt"

test-slow: $(VENV)/.ready $(VALIDATOR)/.ready ## run the slow tests: SLURM, and jobs that are killed again and again
	M1_CRATE_VALIDATOR=$(abspath $(VALIDATOR))/bin/python $(PYTEST) -m slow

test-real: $(VENV)/.ready ## run make laptop in short, on real weights and text in M1_SHARED_DATA (fifteen minutes)
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest -s tests/real

# SGLang conflicts with our pins and pulls CUDA wheels, so it has its own environment, installed with `--no-deps` (torch
# excepted).
$(SGLANG)/.ready:
	@$(call INSTALL,$(SGLANG)) --pip="--no-deps -r requirements-sglang-cpu.txt"
	@cp tests/sglang_cpu/sitecustomize.py $(SGLANG)/lib/python3*/site-packages/

test-sglang: $(VENV)/.ready $(SGLANG)/.ready ## test with the real engine of the paper, on a CPU (3.4 GB, ten minutes)
	OMP_NUM_THREADS=1 M1_SGLANG_PYTHON=$(abspath $(SGLANG))/bin/python $(BIN)/python -m pytest \
	  tests/engines/test_engines_sglang.py tests/real/test_real_teacher.py -k sglang

WRITTEN = *.md docs/*.md config benchmarks/*.md resources/paper/*.md
lint: $(VENV)/.ready ## check the code (ruff, mypy, snakefmt, snakemake --lint) and the prose (codespell, proselint)
	$(BIN)/ruff check workflow tests benchmarks envs
	$(BIN)/ruff format --check workflow tests benchmarks envs
	$(BIN)/mypy workflow/m1 envs/pin.py envs/install.py
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile workflow/rules
	$(SNAKEMAKE) --lint
	$(BIN)/codespell $(WRITTEN) Makefile Snakefile pyproject.toml profiles envs workflow tests benchmarks
	$(BIN)/proselint check $(WRITTEN)

format: $(VENV)/.ready ## format the code with ruff and snakefmt
	$(BIN)/ruff check --fix workflow tests benchmarks envs
	$(BIN)/ruff format workflow tests benchmarks envs
	$(BIN)/snakefmt Snakefile workflow/Snakefile workflow/rules

pins: $(VENV)/.ready ## pin envs/*.yaml anew after a change in requirements.txt or constraints.txt (uv, network)
	$(BIN)/python envs/pin.py

reference: $(VENV)/.ready ## update config/reference.md, comments and overlay schema from the configuration's schema
	@PYTHONPATH=workflow $(BIN)/python -m m1 reference

##@ clean up
clean: ## remove the results and logs of all configurations; store, checkpoints and environments stay
	@test "$(CONFIRM)" = yes -o -z "$(wildcard .snakemake/locks/*)" || { echo "A run is at work here, or was killed" \
	  "(.snakemake/locks): end it, or start the same again. To remove its results all the same: make clean CONFIRM=yes"; \
	  exit 1; }
	@test "$(CONFIRM)" = yes -o -z "$(wildcard results/*/train)" || { echo "$(wildcard results/*/train): trained models" \
	  "would go, and only those that store/train keeps come back without a training." \
	  "To remove them, too: make clean CONFIRM=yes"; exit 1; }
	rm -rf results logs

clean-scratch: ## remove the checkpoints of unfinished trainings, which then start from the beginning
	rm -rf scratch

clean-store: ## remove the store: calls, generations, trained models, which cost money or hours (CONFIRM=yes)
	@test "$(CONFIRM)" = yes || { echo "store/ holds calls, generations and trained models that were paid for; they" \
	  "would be made again. To remove it: make clean-store CONFIRM=yes"; exit 1; }
	rm -rf store

clean-venv: ## remove the virtual environments, unless they are in use
	@$(call INSTALL,$(VENV)) --remove
	@$(call INSTALL,$(SGLANG)) --remove
	@$(call INSTALL,$(VALIDATOR)) --remove
