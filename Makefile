# `make demo` and `make test` set everything up by themselves; all they need is Python 3.11 or newer
# (and, on Debian as root, they install what else is missing).

PYTHON ?= python3
PY := .venv/bin/python
# What xdist is told: two processes, each with servers of its own.
TEST_PROCESSES ?= 2
TESTS_OF_THE_STORE := tests/unit tests/store tests/e2e tests/starter tests/endpoints tests/chaos

.PHONY: help demo up check test chaos chaos-tests faults bench bench-send bench-retrieve bench-idle measure schemas lock clean

help:
	@echo "make demo     show the engine at work, once, with an embedded mail server"
	@echo "make up       run everything and stay up"
	@echo "make check    format, lint, types, import rules, unit tests"
	@echo "make test     the whole test suite, with real servers"
	@echo "make chaos    kill and freeze workers at every step; an hour or two, goes on when cut"
	@echo "make chaos-tests  the same in short tests"
	@echo "make faults   a mail server that fails at every stage in every way"
	@echo "make bench    the benchmarks"
	@echo "make bench-retrieve  retrieving a large mailbox beside other programs; ten minutes"
	@echo "make bench-send  draining the queue beside other engines; half an hour"
	@echo "make bench-idle  hundreds of folders that are listened to; five minutes"
	@echo "make measure  the correctness measurements"
	@echo "make schemas  write the JSON Schemas of the contract"
	@echo "make lock     compile the locks from pyproject.toml"
	@echo "make clean    remove the environment and all caches"

.venv/.synced: requirements.lock tools/bootstrap.py
	@$(PYTHON) tools/bootstrap.py

demo: .venv/.synced
	$(PY) -m starter demo

up: .venv/.synced
	$(PY) -m starter up

check: .venv/.synced
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PY) -m pytest tests/unit

# Everything on SQLite and files; then all that has to do with the store once more, on PostgreSQL
# and S3. Binaries are made here once, so that the test processes do not each look for them.
test: .venv/.synced
	$(PY) -m tools.servers install
	TEMPORAL_CLI="$$($(PY) -m tools.temporal)" && export TEMPORAL_CLI && \
		$(PY) -m tools.temporal programs && \
		$(PY) -m pytest -n $(TEST_PROCESSES) --dist loadgroup && \
		EMAIL_CONNECTOR_TEST_STORE=postgresql \
			$(PY) -m pytest -n $(TEST_PROCESSES) --dist loadgroup $(TESTS_OF_THE_STORE)

# Workers killed and frozen at every step: minutes each, and the more the machine is their own.
chaos-tests: .venv/.synced
	$(PY) -m tools.servers install
	TEMPORAL_CLI="$$($(PY) -m tools.temporal)" && export TEMPORAL_CLI && \
		$(PY) -m pytest -m chaos tests/chaos

# The same at full length, in rounds; a run that was cut goes on after its last whole round.
CHAOS ?= --rounds 10 --mails 2040 --kills 180 --times 10 --restarts 5 --freezes 1
chaos: .venv/.synced
	$(PY) -m tools.servers install
	TEMPORAL_CLI="$$($(PY) -m tools.temporal)" && export TEMPORAL_CLI && \
		$(PY) -m tests.chaos --resume $(CHAOS)

# What is right in each cell stands in tests/faults/expected.py. Half a minute.
faults: .venv/.synced
	$(PY) -m tests.faults

bench: .venv/.synced
	$(PY) -m benchmarks

# Medians of five rounds on both stores. The peers are installed in an environment of their own.
bench-send: .venv/.synced
	$(PY) -m tools.servers install
	TEMPORAL_CLI="$$($(PY) -m tools.temporal)" && export TEMPORAL_CLI && \
		$(PY) -m benchmarks.draining --memory 50000

# The same for retrieving.
bench-retrieve: .venv/.synced
	$(PY) -m tools.servers install
	TEMPORAL_CLI="$$($(PY) -m tools.temporal)" && export TEMPORAL_CLI && \
		$(PY) -m benchmarks.retrieving

# Five hundred folders on one worker: memory, processor time, and how soon a new mail is noticed.
bench-idle: .venv/.synced
	$(PY) -m tools.servers install
	TEMPORAL_CLI="$$($(PY) -m tools.temporal)" && export TEMPORAL_CLI && \
		$(PY) -m benchmarks.idling

measure: .venv/.synced
	$(PY) -m tools.measure

schemas: .venv/.synced
	$(PY) -m tools.export_schemas

# The version range of Python is open, so the lock holds for every platform and later Python. The
# image's lock is the part of it that is not for tests.
COMPILE = $$(command -v uv || echo .venv/bin/uv) pip compile --universal --generate-hashes \
	--no-emit-index-url --python-version 3.11 --group demo pyproject.toml
lock: .venv/.synced
	$(COMPILE) --group dev -o requirements.lock
	$(COMPILE) -c requirements.lock -o requirements-image.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache var
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
