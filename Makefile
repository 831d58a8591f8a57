# The doors of the project. Each target calls a script that also works alone; `make check` is what CI runs.
bin = $(or $(TEXT2SQL_VENV),.venv)/bin

.PHONY: help setup check test docs test-isa bench quickstart

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## the environment in .venv, with everything that development needs
	bash scripts/setup_environment.sh dev test

check: ## style, types, arrows between packages, documentation, the default tests
	.ci/run

test: ## the default tests alone; ARGS="-k name" goes on to pytest
	bash scripts/run_tests.sh $(ARGS)

docs: ## the documentation as pages in site/
	bash scripts/setup_environment.sh dev test
	$(bin)/mkdocs build --strict

test-isa: ## what must be exact, under the arithmetic of other processors
	bash scripts/setup_environment.sh dev test
	PYTHON=$(bin)/python bash scripts/check_arithmetic.sh

bench: ## training and decoding against their peers, on this machine
	bash scripts/setup_environment.sh dev test
	$(bin)/python scripts/bench_train.py
	$(bin)/python scripts/bench_generate.py

quickstart: ## a small model is evaluated, trained and evaluated again
	bash scripts/run_finetuning.sh
