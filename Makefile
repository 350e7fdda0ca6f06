# The one task runner. Every target sets up what it needs: Python 3.11 or newer and make are
# enough to begin with. `make` alone lists what there is.

MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.SUFFIXES:
.DELETE_ON_ERROR:

# The first of these that runs and is new enough. 3.12 and 3.11 come before 3.13 because the
# packaged Redis has wheels for them. `make PYTHON=/path/to/python setup` chooses another.
PYTHON_CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.12 python3.11 python3.13 python3)

PY := .venv/bin/python
INSTALL := $(PY) -m pip install --quiet --no-input --disable-pip-version-check --require-hashes
# uv does in seconds what takes pip a minute, and holds the same hashes. It reads none of pip's
# settings: where it cannot reach an index, or pip has been given one, pip does it.
FAST_INSTALL = ! $(PY) -m pip config list 2>/dev/null | grep -q '\.index-url=' \
	&& awk '/^[a-z]/ { ours = /^uv==/ } ours' requirements-dev.lock > .venv/uv.lock \
	&& $(INSTALL) -r .venv/uv.lock \
	&& UV_HTTP_TIMEOUT=20 UV_HTTP_RETRIES=1 .venv/bin/uv pip install --quiet --no-config --python $(PY) \
		--require-hashes -r requirements-dev.lock
RUNTIME := .venv/.runtime-$(shell cksum < requirements.lock | cut -d ' ' -f 1)
DEV := .venv/.dev-$(shell cksum < requirements-dev.lock | cut -d ' ' -f 1)
# Empty when there is no virtual environment, or its interpreter has gone away.
VENV_RUNS := $(shell $(PY) -c 'print(1)' 2>/dev/null)

# ONCE=1 and JSON=1 switch something on; 0, no and false do not.
on = $(if $(filter-out 0 no false,$($(1))),$(2))

.PHONY: help
help: ## Show this list
	@echo 'make TARGET, where TARGET is one of'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(RUNTIME) ## Start everything and show the main job; ONCE=1 ends after it, JSON=1 for scripts
	@$(PY) -m examples.demo $(call on,ONCE,--once) $(call on,JSON,--json)

.PHONY: serve
serve: $(RUNTIME) ## Run the platform in the foreground, configured by LINK_* (.env.example)
	@./link-identity serve

.PHONY: setup
setup: $(DEV) ## Install everything for working on the code into .venv
	@echo 'Ready. Try: make demo, make test'

.PHONY: node
node: ## Install the packages of tests/foreign, where there is Node
	@if command -v npm >/dev/null 2>&1 && ! cmp -s tests/foreign/package-lock.json $(NODE); then \
		echo 'Installing what is not ours and runs in Node ...' >&2; \
		(cd tests/foreign && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error \
			--fetch-retries=1 --fetch-timeout=20000) \
			&& cp tests/foreign/package-lock.json $(NODE) \
			|| echo 'They could not be had; what needs them is left out.' >&2; \
	fi

NODE := tests/foreign/node_modules/.installed

.PHONY: test
test: check node ## Run every check and every test; ARGS="-k palm" for some, THOROUGH=1 to draw more examples
	@$(call on,THOROUGH,LINK_TEST_THOROUGH=1) $(PY) -m tests $(ARGS)

.PHONY: check
check: $(DEV) ## Check format, lint, types, import contracts and generated docs
	@$(MAKE) -j2 check-mypy check-pyright check-format check-lint check-imports check-docs

.PHONY: check-format check-lint check-imports check-docs check-mypy check-pyright
check-format: $(DEV)
	@$(PY) -m ruff format --check --quiet . || { echo 'Not formatted; make fmt does it.' >&2; exit 1; }
check-lint: $(DEV)
	@$(PY) -m ruff check --quiet .
check-imports: $(DEV)
	@.venv/bin/lint-imports
check-docs: $(DEV)
	@$(PY) -m docs.events | diff -u docs/events.md - \
		|| { echo 'docs/events.md is not what the code says; make docs writes it.' >&2; exit 1; }
check-mypy: $(DEV)
	@$(PY) -m mypy
check-pyright: $(DEV)
	@$(PY) -m basedpyright

.PHONY: fmt
fmt: $(DEV) ## Format the code and mend what can be mended by rule
	@$(PY) -m ruff check --fix --quiet . ; $(PY) -m ruff format .

.PHONY: bench
bench: $(DEV) node ## Measure us against baselines; WHAT=append for one figure, JSON=1 for scripts
	@$(PY) -m benchmarks $(WHAT) $(if $(EVENTS),--events $(EVENTS)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(SECONDS),--seconds $(SECONDS)) $(call on,JSON,--json)

.PHONY: chaos
chaos: $(DEV) ## Break it under load and check what is promised; KILLS=300, JSON=1, OTHERS=none, PLANTED=none
	@$(PY) -m tests.chaos --kills $(or $(KILLS),20) --planted $(or $(PLANTED),all) \
		--others $(or $(OTHERS),all) $(if $(TRIALS),--trials $(TRIALS)) $(if $(SEED),--seed $(SEED)) $(call on,JSON,--json)

.PHONY: docs
docs: $(DEV) ## Write the pages that are generated from the code
	@$(PY) -m docs.events > docs/events.md.new && mv docs/events.md.new docs/events.md

.PHONY: hooks
hooks: $(DEV) ## Have git run the fast checks before every commit
	@.venv/bin/pre-commit install

.PHONY: lock
lock: $(DEV) ## Write the lock files from pyproject.toml; UPGRADE=1 for newer versions too
	@$(COMPILE) -o requirements.lock
	@$(COMPILE) --extra pkcs11 --constraints requirements.lock -o requirements-pkcs11.lock
	@$(COMPILE) --extra dev --constraints requirements.lock -o requirements-dev.lock

COMPILE := .venv/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate $(call on,UPGRADE,--upgrade)

.PHONY: clean
clean: ## Remove .venv and caches; your data under .link-identity stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last thing that `venv` puts in, so its presence says that the environment is whole.
.venv/bin/pip: $(if $(VENV_RUNS),,missing-venv)
	@for candidate in $(PYTHON_CANDIDATES); do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo 'No Python 3.11 or newer found (tried: $(PYTHON_CANDIDATES)).' >&2; \
		echo 'Install one, or name it: make PYTHON=/path/to/python3.12 setup' >&2; \
		exit 1; \
	fi; \
	echo "Making .venv with $$($$python --version) ..." >&2; \
	$$python -m venv --clear .venv || { \
		rm -rf .venv; \
		echo 'Python could not make a virtual environment; on Debian and Ubuntu install' >&2; \
		echo 'the package python3-venv (or that of the version above), then try again.' >&2; \
		exit 1; \
	}

.PHONY: missing-venv
missing-venv:

$(RUNTIME): .venv/bin/pip
	@echo 'Installing what the platform runs on (about a minute the first time) ...' >&2
	@$(INSTALL) -r requirements.lock
	@rm -f .venv/.runtime-* && touch $@

# The second lock file holds everything that the first one does, at the same versions.
$(DEV): .venv/bin/pip
	@echo 'Installing what the platform, its tests and checks need (a minute or two) ...' >&2
	@$(FAST_INSTALL) || $(INSTALL) -r requirements-dev.lock
	@rm -f .venv/.runtime-* .venv/.dev-* && touch $(RUNTIME) $@
