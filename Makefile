# `make run` serves, `make test` tests; both set up what they need in ./.venv, and are quick when nothing changed.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run test check faults bench setup setup-train lock clean

run: .venv/serve.stamp
	@exec $(BIN)/python -m service

test: .venv/train.stamp
	$(BIN)/python -m pytest

check: .venv/train.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/paraframe labels check
	git ls-files -z ':!models' ':!labels/*.jsonl' ':!requirements' | xargs -0 $(BIN)/detect-secrets-hook \
		--disable-plugin HexHighEntropyString --disable-plugin Base64HighEntropyString
	.ci/audit

# kill -9, full disks, overload, stalling clients, swaps under load, any mix of shapes: some six minutes, on loopback.
faults: .venv/train.stamp
	$(BIN)/python -m pytest tests/faults -v -o python_files='fault_*.py' -o python_functions='fault_*'

# The engine and the service beside what a user would pick instead. Leave the machine alone meanwhile.
bench: .venv/train.stamp
	$(BIN)/python -m benchmarks

setup: .venv/serve.stamp
setup-train: .venv/train.stamp

.venv/serve.stamp: pyproject.toml requirements/serve.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing what serving needs into ./.venv"
	@$(PIP) install --requirement requirements/serve.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/train.stamp: .venv/serve.stamp requirements/train.txt
	@echo "installing what training and tests need into ./.venv"
	@$(PIP) install --requirement requirements/train.txt
	@touch $@

# Resolve the newest versions that pyproject.toml allows, and write them down.
lock:
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/python -m pip --quiet install pip-tools
	.venv/lock/bin/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links --upgrade --generate-hashes \
		--allow-unsafe --output-file requirements/serve.txt pyproject.toml requirements/build.in
	.venv/lock/bin/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links --upgrade --allow-unsafe \
		--constraint requirements/serve.txt --extra train --output-file requirements/train.txt pyproject.toml requirements/dev.in

clean:
	rm -rf .venv
