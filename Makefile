# Every target makes .venv and installs first if it is missing or older than what it is made from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export HF_HUB_OFFLINE ?= 1

.PHONY: demo test campaigns chaos fuzz soak lint audit bench clean

demo: $(READY)
	@name=$$(test -e runs/demo && date +demo-%Y%m%d-%H%M%S || echo demo); \
	$(BIN)/python -m cluster run examples/demo.yaml name=$$name output=runs/$$name

# Units side by side, a file to a process; then those that start Ray, which is as many processes as there are cores for.
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not campaign" tests/unit
	$(BIN)/python -m pytest tests/integration

# A share of each campaign for every change: known dictionaries, damaged input, schedules of the protocol, real faults.
campaigns: $(READY)
	$(BIN)/python -m pytest -n 2 -m campaign tests/unit
	$(BIN)/python -m pytest -m "not long" tests/chaos

# Ten thousand schedules and hundreds of real faults; then those that cost whole nodes and networks.
chaos: $(READY)
	$(BIN)/python -m tests.chaos $(OPTIONS)
	$(BIN)/python -m pytest tests/chaos -m long

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz $(OPTIONS)

soak: $(READY)
	$(BIN)/python -m tests.soak $(OPTIONS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Known vulnerabilities of what is installed. It asks a database of them, and so is no part of lint, which needs no network.
audit: $(READY)
	$(BIN)/pip install --quiet -c constraints.txt pip-audit
	$(BIN)/pip-audit --skip-editable

bench: $(READY)
	$(BIN)/python -m benchmarks

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt torch
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet -c constraints.txt -e '.[test,lint]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
