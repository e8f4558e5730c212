# make demo   run the demo: needs Python >= 3.11 and make, nothing else
#             (with DATABASE_URL and REDIS_URL on PostgreSQL and Redis)
# make test   install what the tests need, and run the tests; make slow runs those that take longest
# make page   build the page's JavaScript from frontend: needs node and npm
# make wire   write the protocol for other clients (JSON Schema, AsyncAPI, TypeScript) from the classes of its frames
# make faults the scenarios of many workers, each with many new seeds
# The other targets are parts of these, or for development.

PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000

BIN := $(VENV)/bin
# What the demo needs; on PostgreSQL and Redis their drivers, and uvicorn to choose from.
COMMA := ,
DEMO_EXTRAS := demo$(if $(DATABASE_URL),$(COMMA)postgres)$(if $(REDIS_URL),$(COMMA)redis$(COMMA)uvicorn)
DEMO_STAMP := $(VENV)/.$(subst $(COMMA),-,$(DEMO_EXTRAS))
# Servers and commands of tests start by the hundred: they find the package compiled.
unexport PYTHONDONTWRITEBYTECODE
# Each worker has its share of the files, in one piece: a module's servers and browsers start once.
# Three, as tests of servers wait more than they compute.
XDIST := -n 3 --dist worksteal
SERVERS := $(addprefix tests/,benchmarks browser chainlit/test_bots.py cli deployment server \
	$(addprefix test_,docs.py package.py startchat.py))
UNITS := -m "not faults and not slow" tests $(addprefix --ignore=,$(SERVERS))
NODE_MODULES := frontend/node_modules/.installed

.PHONY: help demo prepare test page messages lint types js docs wire pictures python coverage servers cluster slow postgres matrix faults bench build \
	lock clean

help:
	@sed -n 's/^# \(make\)/\1/p' Makefile

demo: $(DEMO_STAMP)
	@$(BIN)/python -m demo_project --host $(HOST) --port $(PORT)

# Its database and administrator, for those who start its processes themselves.
prepare: $(DEMO_STAMP)
	@$(BIN)/python -m demo_project --prepare

# What runs in one process goes side by side, and what has three alone.
test:
	@$(MAKE) --no-print-directory -j2 --output-sync=target $(VENV)/.dev js
	@$(BIN)/python -m tests.services
	@$(MAKE) --no-print-directory -j2 --output-sync=target types lint docs postgres matrix
	@$(MAKE) --no-print-directory python
	@$(MAKE) --no-print-directory servers
	@$(MAKE) --no-print-directory cluster

# One environment for both; each part is installed once, and again when its sources change.

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "The venv module is needed. On Debian: apt install python3-venv"; exit 1; }

$(DEMO_STAMP): pyproject.toml requirements.lock | $(VENV)/bin/python
	@echo "Installing what the demo needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[$(DEMO_EXTRAS)]'
	@touch $@

# All that is locked, so that pip has nothing to find out. Who imports a module first compiles it:
# most are imported by nobody.
$(VENV)/.dev: pyproject.toml requirements.lock | $(VENV)/bin/python
	@echo "Installing what the tests need into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --no-deps --no-compile --disable-pip-version-check -r requirements.lock -e .
	@touch $@ $(DEMO_STAMP)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

$(NODE_MODULES): frontend/package.json frontend/package-lock.json
	@npm ci --prefix frontend --no-audit --no-fund --loglevel=error
	@touch $@

# The built files are committed: who installs the package, or runs the demo, needs no node.
page: $(NODE_MODULES)
	@node frontend/build.js

# What is said, into chatsessions/locale, to be translated there; then again, to compile it. It needs
# gettext (on Debian: apt install gettext). The compiled files are committed.
messages: $(VENV)/.dev
	@$(BIN)/python -m tests.messages

js:
	@if command -v node >/dev/null; then \
		$(MAKE) --no-print-directory $(NODE_MODULES) && node frontend/build.js --check && \
		frontend/node_modules/.bin/tsc --project frontend && node frontend/test.js; \
	else \
		echo "SKIPPED: node is not installed, the JavaScript modules are not tested."; \
	fi

# The site, in docs/_build/html. A link that leads nowhere is an error, as any warning is.
docs: $(VENV)/.dev
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

# The frames as JSON Schema, AsyncAPI and TypeScript. A test compares.
wire: $(VENV)/.dev
	@$(BIN)/python docs/wire.py

# Those of the README, of the page as it is.
pictures: $(VENV)/.dev
	@$(BIN)/python docs/pictures.py

python: $(VENV)/.dev
	$(BIN)/python -m pytest $(XDIST) $(UNITS)

# Which lines and branches the unit tests run. Tracing makes them take twice as long.
coverage: $(VENV)/.dev
	@rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest $(XDIST) $(UNITS)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report

# Whole servers and browsers.
servers: $(VENV)/.dev
	$(BIN)/python -m pytest $(XDIST) -m "not slow" $(SERVERS)

# Servers that are killed, paused and cut off, on SQLite and as clusters on PostgreSQL and Redis. A
# module's cluster starts once.
cluster: $(VENV)/.dev
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "faults and not slow" tests/faults

# Those of any kind that take many seconds each; make test leaves them out.
slow: $(VENV)/.dev
	$(BIN)/python -m pytest -n 3 --dist loadfile -m slow tests

# What has SQL, connections or locks of its own, on a PostgreSQL of the tests' own; the SQL of live
# sessions is that of all clusters. make postgres ON_POSTGRES=tests/test_*.py has all of it.
ON_POSTGRES ?= $(addsuffix .py,$(addprefix tests/test_,admin_list clearchatsessions database isolation \
	journal store threads_views))
postgres: $(VENV)/.dev
	$(BIN)/python -m tests.on_postgres $(BIN)/python -m pytest $(ON_POSTGRES)

# The same tests on other Pythons, with the Django that goes with them, where they are installed.
matrix: $(VENV)/.dev
	@$(BIN)/python -m tests.matrix

# CHATSESSIONS_FAULTS_SEED=… repeats a run.
faults: $(VENV)/.dev
	CHATSESSIONS_FAULTS=long $(BIN)/python -m pytest -n 3 --dist loadfile tests/faults/cluster

# What is to be measured goes into ARGS: make bench ARGS=--quick
bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks $(ARGS)

build: $(VENV)/.dev
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

lock: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
		--all-extras pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) frontend/node_modules var dist .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis
