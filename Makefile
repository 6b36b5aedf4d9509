# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test e2e check docs lint types layers bench bench-quick torture clean

demo: $(VENV)/.installed ## install, run the demo study, say where the report is
	HF_HUB_OFFLINE=1 $(BIN)/alignstudy run demo

test: $(VENV)/.installed-dev ## the test suite (minutes, no network)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not e2e"

e2e: $(VENV)/.installed-dev ## whole studies, killed processes, notebooks
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests -m e2e

bench: $(VENV)/.installed-dev ## the notebooks' way against ours (under 15 minutes on 2 cores)
	$(BIN)/python benchmarks/cpu.py

bench-quick: $(VENV)/.installed-dev ## the same with less work (under 3 minutes)
	$(BIN)/python benchmarks/cpu.py --quick

torture: $(VENV)/.installed-dev ## kills, failing disks, damaged files: thousands of runs (hours; goes on where it was)
	$(BIN)/python benchmarks/torture.py --jobs 2

check: lint types layers ## everything that needs no test run

docs: $(VENV)/.installed ## the pages that are made from the code
	$(BIN)/python -m alignstudy.study.tools.settings_page > docs/settings.md
	$(BIN)/python -m alignstudy.report.text.glossary > docs/glossary.md
	$(BIN)/python -m alignstudy.methods.catalogue > docs/methods.md
	$(BIN)/python -m alignstudy.study.cost.scaling_page > docs/scaling.md

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

layers: $(VENV)/.installed-dev
	$(BIN)/lint-imports

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
