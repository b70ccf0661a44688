# Everything a newcomer needs. `make up` runs it, `make test` proves it.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
ARGS ?=

.PHONY: up test check bench clean lock

up: .venv/ready
	@exec $(BIN)/python -m server.up $(ARGS)

test: .venv/ready-dev
	$(BIN)/python -m pytest $(ARGS)

check: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/djade --check $$(git ls-files 'templates/*.html')
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check

bench: .venv/ready-dev
	$(BIN)/python -m bench.run $(ARGS)

# The two sets of packages, pinned with hashes. uv is used when it is there, else venv and pip.
.venv/ready: requirements.lock pyproject.toml client/pyproject.toml
	@./install requirements.lock "$(PYTHON)" && touch $@

.venv/ready-dev: requirements-dev.lock pyproject.toml client/pyproject.toml
	@./install requirements-dev.lock "$(PYTHON)" && touch $@ .venv/ready

lock:
	uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-package imprimatur --extra demo --extra postgres pyproject.toml -o requirements.lock
	uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-package imprimatur --extra dev pyproject.toml -o requirements-dev.lock

clean:
	rm -rf .venv build *.egg-info client/*.egg-info
