# `make demo` and `make test` are all that a fresh machine needs: both set `.venv` up first.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
LONGEST := tests/test_loop.py tests/training/test_pipeline.py tests/monitoring/test_verdict.py tests/training/test_cli.py
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench bench-gate bench-peers bench-drift bench-judges bench-micro fuzz coverage-table images-test closed-loop soak lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.complete  ## create .venv from the locked requirements, with hotgate itself editable

# The stamp is written last: a set-up that was interrupted has none and starts again from nothing.
$(VENV)/.complete: requirements/all.txt requirements/setup.txt pyproject.toml
	@rm -f $@
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
		|| { echo 'hotgate needs Python 3.11 or 3.12: make PYTHON=/path/to/python3.11 setup'; exit 1; }
	@echo "setting up $(VENV) (about a minute the first time)"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/setup.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/all.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps --editable .
	@touch $@

demo: setup  ## train, register, promote and serve a model on 127.0.0.1:8000 (PORT= changes it, DEMO_ONCE=1 stops)
	@$(BIN)/hotgate demo --port $(PORT) $(if $(DEMO_ONCE),--once)

# Measurements want the machine to themselves: their tests come last, one at a time. The longest files come first, so that
# neither of the two processes ends long before the other.
test: setup  ## run every test, or those that ARGS names
ifdef ARGS
	@$(BIN)/python -m pytest $(ARGS)
else
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not measures' $(LONGEST) tests
	@$(BIN)/python -m pytest -m measures tests/benchmarks
endif

check: setup  ## lint, formatting, types, the rooms' imports, spelling
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/codespell

format: setup  ## put the code into the house format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup  ## measure: one pinned worker against granian's fixed answer, swap, start-up, memory
	@$(BIN)/hotgate bench

bench-gate: setup  ## hold the gateway's throughput and p99 to benchmarks/budget.toml (ARGS=--quick: within two minutes)
	@$(BIN)/hotgate bench gate $(ARGS)

bench-peers: setup  ## measure hotgate beside other model servers, each in an environment of its own
	@$(BIN)/hotgate bench peers $(ARGS)

bench-drift: setup  ## measure how good the drift detection is, beside other libraries (ARGS=--quick: alone, within a minute)
	@$(BIN)/hotgate bench drift $(ARGS)

bench-judges: setup  ## hold the load generator against h2load and k6, where they are installed
	@$(BIN)/hotgate bench judges $(ARGS)

bench-micro: setup  ## measure each part of a request's path apart (ARGS=docs/hot-path.md writes the table there)
	@mkdir -p .hotgate/bench
	@$(BIN)/python -m pytest benchmarks/micro --benchmark-only --benchmark-json=.hotgate/bench/micro.json -qq >.hotgate/bench/micro.log \
		|| { cat .hotgate/bench/micro.log; exit 1; }
	@$(BIN)/python -m benchmarks.micro.table .hotgate/bench/micro.json $(ARGS)

fuzz: setup  ## an hour of right and wrong requests to gateways of every lane (ARGS="--seconds 60 --seed 1"); ends at the first fault
	@$(BIN)/python -m benchmarks.fuzz $(ARGS)

coverage-table: setup  ## try every estimator of scikit-learn and write docs/coverage.md (some five minutes)
	@$(BIN)/python -m benchmarks.coverage docs/coverage.md

images-test: setup  ## build both images and run them hardened (needs root, buildah, podman, runc and debootstrap; minutes)
	@HOTGATE_IMAGES=1 $(BIN)/python -m pytest tests/deploy/test_images.py -rP

closed-loop: setup  ## drifted traffic to a better model in Production by itself, over a real alarm's window (up to 12 minutes)
	@HOTGATE_CLOSED_LOOP=1 $(BIN)/python -m pytest tests/test_closed_loop.py -rP

soak: setup  ## ten million requests, or 20 minutes, against one worker: its memory must stay flat (ARGS=--swaps: with swaps)
	@$(BIN)/hotgate bench soak $(ARGS)

lock: setup  ## compile requirements/*.txt from pyproject.toml (Python 3.11 and 3.12)
	@$(LOCK) pyproject.toml --extra all -o requirements/all.txt
	@$(LOCK) pyproject.toml -c requirements/all.txt -o requirements/gateway.txt
	@$(LOCK) pyproject.toml --extra train --extra monitor --extra data --extra server -c requirements/all.txt -o requirements/train.txt
	@printf 'setuptools>=77\nuv\n' | $(LOCK) - -o requirements/setup.txt
	@echo dumb-init | $(LOCK) - -o requirements/init.txt
	@for peer in $(wildcard benchmarks/*/requirements/*.in); do $(LOCK) $$peer -o $${peer%.in}.txt || exit 1; done

clean:  ## remove .venv and caches (state under .hotgate stays)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
