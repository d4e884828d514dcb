# make demo: LIS of the item-ID table on real impressions, end to end.
# make test-unit: linters and unit tests.   make test: Spark, the main job and a cluster, too.   make test-all: every test.
# make demo-world: the same on a simulated world whose truth is known.
# make demo-align: encoders aligned on preference data of such a world, and what they are worth to the ranker.
# make demo-experiment: such encoders put to an experiment whose rankers choose what users see, in a feed and for ads.
# All make their own environment first, from a lock file with hashes.

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
SPARK_ENV := OMP_NUM_THREADS=1
# Compiled once here, not by each of the many processes of a run: where PYTHONDONTWRITEBYTECODE is set, each would spend
# 7 of its first 12 seconds on that. The same goes for our own modules.
unexport PYTHONDONTWRITEBYTECODE
# A third of pip's time; pip itself where only pip knows the way (an index or certificates in its own configuration).
define INSTALL
install() { $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --require-hashes -r $$1 || { echo "uv could not install $$1; pip tries"; \
 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $$1; }; }; install
endef

.PHONY: demo demo-world demo-align demo-experiment test test-unit test-slow test-all lint lock clean prerequisites
.DEFAULT_GOAL := help

help:
	@grep -E '^# ' Makefile | sed 's/^# //'

prerequisites:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is missing: install it, or say make PYTHON=/path/to/python3.11"; exit 2; }
	@test -z "$$JAVA_HOME" -o -x "$$JAVA_HOME/bin/java" || { echo "Java 17 is missing: JAVA_HOME=$$JAVA_HOME has no bin/java; correct it, or unset it"; exit 2; }
	@command -v java >/dev/null 2>&1 || test -n "$$JAVA_HOME" -a -x "$$JAVA_HOME/bin/java" || { echo "Java 17 is missing: install a JDK 17 (Debian, Ubuntu: apt-get install openjdk-17-jre-headless) or set JAVA_HOME"; exit 2; }
	@J=java; test -n "$$JAVA_HOME" -a -x "$$JAVA_HOME/bin/java" && J="$$JAVA_HOME/bin/java"; V=$$($$J -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1); \
	 test "$$V" -ge 17 -a "$$V" -lt 24 2>/dev/null || { echo "Java 17 is needed, Java $${V:-of an unknown version} was found: set JAVA_HOME to a JDK 17 (21 runs, too; Spark 4.0 does not start on 24 or later)"; exit 2; }

$(VENV)/.runtime: requirements/installer.lock requirements/runtime.lock | prerequisites
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) -m venv failed: on Debian and Ubuntu, apt-get install python3-venv"; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/installer.lock
	$(INSTALL) requirements/runtime.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.runtime
	$(INSTALL) requirements/dev.lock
	@touch $@

demo: $(VENV)/.runtime
	$(SPARK_ENV) $(BIN)/lis-spark run --config conf/kuairand_demo.yaml

demo-world: $(VENV)/.runtime
	$(SPARK_ENV) $(BIN)/lis-spark run --config conf/world_reference.yaml

demo-align: $(VENV)/.runtime
	$(SPARK_ENV) $(BIN)/lis-spark run --config conf/world_alignment_small.yaml

demo-experiment: $(VENV)/.runtime
	$(SPARK_ENV) $(BIN)/lis-spark experiment --config conf/experiment_feed.yaml
	$(SPARK_ENV) $(BIN)/lis-spark experiment --config conf/experiment_ads.yaml
	$(SPARK_ENV) $(BIN)/lis-spark experiment --config conf/experiment_ads.yaml closed_loop.name=own_budgets \
	  closed_loop.budgets=split output_path=build/experiment_ads/own_budgets
	$(SPARK_ENV) $(BIN)/lis-spark experiment --config conf/experiment_ads.yaml closed_loop.name=shared_logs \
	  closed_loop.logs=shared output_path=build/experiment_ads/shared_logs

# As many processes as tests/processes.py says; tests/groups.py has the order.
PYTEST := $(SPARK_ENV) $(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder

test-unit: $(VENV)/.dev lint
	$(PYTEST) tests/unit

test: $(VENV)/.dev lint
	$(PYTEST) -m "not slow"

# What is left of make test-all after make test.
test-slow: $(VENV)/.dev
	$(PYTEST) -m slow

test-all: $(VENV)/.dev lint
	$(PYTEST)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# make lock: resolves requirements/*.in again.
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --override requirements/overrides.txt
lock: $(VENV)/.runtime
	$(COMPILE) requirements/installer.in -o requirements/installer.lock
	$(COMPILE) requirements/runtime.in -o requirements/runtime.lock
	$(COMPILE) requirements/dev.in -o requirements/dev.lock

# make clean: removes everything that was built, the environment too.
clean:
	rm -rf $(VENV) build dist *.egg-info spark-warehouse metastore_db derby.log
