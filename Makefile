# On a fresh machine: `make demo` shows what etl does, `make test` proves it. Both set up .venv.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
# As many workers as tests/conftest.py says, each with a PostgreSQL of its own; a file stays together.
# They begin in the order of tests/conftest.py. What Python compiled is kept, wherever the environment
# says otherwise: each worker and each process that a test starts would compile it all again.
TESTS := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -q -n auto --dist loadfile --no-loadscope-reorder

# the oldest supported PostgreSQL, what is tested on it by every `make check`, and by `make fault`
OLDEST := 15
CORE := $(addprefix tests/integration/test_,sync.py schema.py postgres_place.py)
MORE := $(addprefix tests/integration/test_,asof.py changes.py deletions.py history.py plan_apply.py \
  proofs.py reports.py)
LOST := tests/fault/test_pgbouncer.py tests/fault/test_lost_connections.py
# the same through PgBouncer in transaction mode
POOLED := TEST_POOLED=1 $(BIN)/pytest -q -n 2 --dist loadfile -k postgres
ON_OLDEST = if [ -x /usr/lib/postgresql/$(OLDEST)/bin/initdb ]; then \
  TEST_POSTGRES=$(OLDEST) $(BIN)/pytest -q -n 2 --dist loadfile

.PHONY: help demo test check fix fault mutants bench clients soak histories lock weaknesses browser pgbouncer postgres pictures console manifests systemd

help: ## Says what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

demo: .venv/run ## Syncs three simulated providers into demo.db and shows what can be asked
	@$(BIN)/etl demo

test: .venv/dev browser pgbouncer systemd ## Five minutes of tests on SQLite and on a PostgreSQL that it starts itself
	$(TESTS) --ignore=tests/process --ignore=tests/fault

check: .venv/dev browser pgbouncer postgres systemd ## Locks, format, lint, types, import contracts, all tests but the slow ones: what CI runs
	$(BIN)/python -m tests.support.locks
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(TESTS)
	@$(ON_OLDEST) -k postgres $(CORE); fi

fix: .venv/dev ## Formats, and mends what the linter can
	$(BIN)/ruff check -q --fix .
	$(BIN)/ruff format -q .

# its longest file takes half an hour: the workers share it
fault: .venv/dev pgbouncer postgres ## The fault matrix, with its slow half
	$(TESTS) --dist worksteal -m "not clients" tests/fault
	$(TESTS) -m slow --ignore=tests/fault
	$(POOLED) $(CORE) $(MORE)
	@$(ON_OLDEST) -m "not clients" $(CORE) $(MORE) $(LOST) && \
	  TEST_POSTGRES=$(OLDEST) $(POOLED) $(CORE) $(MORE); fi

mutants: .venv/dev ## Breaks the logic on purpose in 391 places, tells what no test notices; an hour
	$(BIN)/python -m tests.mutants

browser: ## Installs Chromium for the browser tests where it is missing
	@.ci/browser

pgbouncer: ## Installs PgBouncer for its tests where it is missing
	@.ci/pgbouncer

postgres: ## Installs the oldest supported PostgreSQL for its tests where it is missing
	@.ci/postgres $(OLDEST)

systemd: ## Installs systemd-analyze for the tests of docs/deploy where it is missing
	@.ci/systemd

pictures: .venv/dev browser ## Makes the screenshots of docs/ anew: the console, an evidence report
	$(BIN)/python -m tests.support.pictures docs/pictures

console: .venv/dev ## The times of the web console's pages over a million layers
	$(BIN)/pytest -q -s bench/test_console.py

bench: .venv/dev .bench-venv/ready ## Compares with dlt and the floor, writes docs/benchmarks.md; SIZES=large takes 70 minutes
	$(BIN)/python -m bench.compare $(SIZES)

clients: .venv/dev .clients-venv/ready ## DuckDB, pandas and dlt on what etl keeps and exports
	$(BIN)/pytest -q -m clients tests/clients

soak: .venv/dev ## A week of the daemon in 35 minutes; writes docs/soak.md
	$(BIN)/pytest -q -s bench/test_soak.py

histories: .venv/dev ## Random histories against the truth, 20 minutes for 2000; writes docs/histories.md. N=200 plays fewer
	$(BIN)/python -m bench.histories $(or $(N),2000)

# The pins stay as they are; UPGRADE=--upgrade takes the newest releases.
LOCK = .lock-venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --custom-compile-command "make lock" $(UPGRADE) pyproject.toml --group build

lock: ## Writes the lock files from pyproject.toml
	@test -x .lock-venv/bin/uv || { $(PYTHON) -m venv .lock-venv && .lock-venv/bin/pip install -q uv; }
	@$(LOCK) -o requirements.lock
	@$(LOCK) --all-extras -c requirements.lock -o requirements-extras.lock
	@$(LOCK) --all-extras --group dev -c requirements-extras.lock -o requirements-dev.lock

weaknesses: ## Known weaknesses of the locked packages; fails where the advisories are out of reach
	@test -x .audit-venv/bin/pip-audit || \
	  { $(PYTHON) -m venv .audit-venv && .audit-venv/bin/pip install -q pip-audit; }
	.audit-venv/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock
	.audit-venv/bin/pip-audit --strict --disable-pip --require-hashes -r requirements-extras.lock
	.audit-venv/bin/pip-audit --strict --disable-pip --require-hashes -r requirements-dev.lock

KUBERNETES := 1.25 1.31 1.37
manifests: ## Checks docs/deploy/*.yaml against the schemas of Kubernetes
	@test -x .manifest-venv/bin/kubernetes-validate || \
	  { $(PYTHON) -m venv .manifest-venv && .manifest-venv/bin/pip install -q kubernetes-validate==1.37.0; }
	@for version in $(KUBERNETES); do \
	  .manifest-venv/bin/kubernetes-validate --strict -k $$version docs/deploy/*.yaml || exit 1; done

# Only what a lock names is installed (--no-deps): a release that appears later changes nothing.
INSTALL := $(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-deps

# Each stamp: the environment holds exactly what that lock file says, and etl itself.
.venv/run: requirements.lock pyproject.toml
	@echo "setting up .venv (once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(INSTALL) -r requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.bench-venv/ready: bench/dlt-requirements.txt
	@echo "setting up .bench-venv (once) ..."
	@test -x .bench-venv/bin/python || $(PYTHON) -m venv .bench-venv
	@.bench-venv/bin/pip install -q --disable-pip-version-check -r bench/dlt-requirements.txt
	@touch $@

.clients-venv/ready: tests/clients/requirements.txt
	@echo "setting up .clients-venv (once) ..."
	@test -x .clients-venv/bin/python || $(PYTHON) -m venv .clients-venv
	@.clients-venv/bin/pip install -q --disable-pip-version-check -r tests/clients/requirements.txt
	@touch $@

.venv/dev: requirements-dev.lock .venv/run
	@$(INSTALL) -r requirements-dev.lock
	@touch $@
