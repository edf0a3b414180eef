# Every target does its own set-up; repeating one is quick.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo demo-ui test test-claims test-browser fuzz scatter check docs bench soak kills
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
	FUZZ=$(COUNT) $(BIN)/python -m pytest -m '' tests/fuzz -s

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

soak: setup
	$(BIN)/enfold bench soak

kills: setup
	$(BIN)/enfold bench kills
