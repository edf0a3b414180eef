# Every target does its own set-up; repeating one is quick.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo demo-ui test test-claims test-browser fuzz chaos scatter check audit sbom docs bench soak kills
setup: .venv/ready

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -U 'pip>=25.1'  # the resolver of older ones does not come to an end with these extras
	$(BIN)/pip install -q -e '.[all,dev]'
	touch $@

demo: setup
	$(BIN)/enfold demo

demo-ui: setup
	$(BIN)/enfold demo --ui

test: setup
	$(BIN)/python -m pytest -n logical --dist worksteal

test-claims: setup
	$(BIN)/python -m pytest tests/e2e/test_recipes.py -m '' -k claim

test-browser: setup
	$(BIN)/python -m pytest tests/browser

COUNT ?= 2000
fuzz: setup
	FUZZ=$(COUNT) $(BIN)/enfold bench fuzz

scatter:
	cd app/scatter && npm install --no-audit --no-fund && npm run build

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	$(BIN)/python -m training.catalogue
	$(BIN)/python -m benchmarks.harness.report

bench: setup
	$(BIN)/enfold bench minilm_parity
	$(BIN)/enfold bench overhead
	$(BIN)/enfold bench serving
	$(BIN)/enfold bench overload
	$(BIN)/enfold bench drain

MINUTES ?= 60
soak: setup
	MINUTES=$(MINUTES) $(BIN)/enfold bench soak

kills: setup
	$(BIN)/enfold bench kills

# kill -9 of jobs, index, server and training, then full disks and networks that fail. SHORT=1: minutes instead of an hour.
chaos: setup
	$(BIN)/enfold bench kills $(if $(SHORT),--quick)
	$(BIN)/python -m pytest tests/unit/serving/test_full_disk.py tests/unit/serving/test_network.py \
	  tests/unit/serving/test_embed.py tests/unit/training/test_loop.py -k 'kill or write or full or fault or network or room'

# What is installed, with versions and licences, as CycloneDX has it.
sbom: setup
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible --of JSON -o sbom.json

# Secrets in what git tracks (those of tests are in the baseline), then known weaknesses of what is installed.
audit: setup
	git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline
	$(BIN)/python tests/audit.py
