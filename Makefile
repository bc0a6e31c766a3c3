# `make demo` and `make test` are all a newcomer needs; both make the environment first.
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: demo test lint kernels format clean

# With HEADLESS=1: train and score without a viewer. Else the viewer stays open after training, until Ctrl-C.
demo: .venv/core-installed
ifeq ($(HEADLESS),1)
	$(BIN)/fieldbench train splats demo --out $(RUN)
	$(BIN)/fieldbench evaluate $(RUN)
	@echo "The report, with every held-out view: $(RUN)/eval/report.html"
else
	$(BIN)/fieldbench train splats demo --out $(RUN) --view web
endif

test: lint
	$(BIN)/python -m pytest -n 2

lint: .venv/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

# Every Triton kernel compiled for four generations of GPU, and faults planted in the kernels that the tests must catch.
kernels: .venv/dev-installed
	$(BIN)/python -m kernels.compile
	$(BIN)/python -m tests.mutants

format: .venv/dev-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv

.venv/core-installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e ".[web]"
	touch $@

.venv/dev-installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch .venv/core-installed $@
