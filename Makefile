# `make help` lists the targets.

PYTHON ?= python3
BIN := .venv/bin
# The program that builds and runs images: docker or podman.
ENGINE ?= docker
# On two cores, of which a test that waits needs none; those of one file run one after the other: they share its services.
PARALLEL := pytest -n 4 --dist loadfile
# The tests of `make test`; the others have targets of their own.
AT_ONCE := not soak and not browser and not clients and not drop_in and not image and not proxies
# The tests of `make drop-in`.
TOOLS ?= not gradle
# The Python of `make bench`: Debian's, which is built with profile-guided optimisation, where there is one.
BENCH_PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; print(sys.version_info >= (3, 11) and sys.executable or "$(PYTHON)")' || echo $(PYTHON))
# Those of `make soak` that measure what a worker does: nothing else may run meanwhile.
ALONE := $(addprefix tests/,contract/test_busy_store.py $(addprefix service/test_,greedy_clients.py memory.py overload.py slow_clients.py))
# The random seed of `make soak`, which prints it.
SEED := $(or $(SEED),$(shell date +%s))
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The tests start some hundred processes: without it each would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

# The tests that run on every kind of server.
CONTRACT := $(addprefix tests/contract/test_,keys.py items.py values.py transactions.py ndjson.py model.py watching.py) tests/unit/test_filter.py

.PHONY: help run setup check format test coverage compat compat-scaled browser clients drop-in granian proxies soak mutants bench bench-quick image image-test monitoring-plots lock clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

run: .venv/run.stamp ## Serve on http://127.0.0.1:5000, with an embedded Valkey in ./data
	@$(BIN)/flaskvstore serve

setup: .venv/dev.stamp ## Create .venv with everything for development, from the lock files

check: .venv/dev.stamp ## Check style, types, import contracts, spelling and the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 --follow-imports silent client
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/hadolint Dockerfile

format: .venv/dev.stamp ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: .venv/dev.stamp ## Run the test suite
	$(BIN)/python -m $(PARALLEL) -m "$(AT_ONCE)"

coverage: .venv/dev.stamp ## Run the test suite with branch coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m $(PARALLEL) -m "$(AT_ONCE)"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

compat: .venv/dev.stamp ## Run the contract's suite on another server: make compat SERVER=/usr/bin/redis-server
	TEST_SERVER=$(SERVER) TEST_BACKENDS=valkey $(BIN)/python -m $(PARALLEL) $(CONTRACT)

compat-scaled: .venv/dev.stamp ## Run the contract's suite on a cluster, behind Sentinels and as a user with few rights; SERVER as above
	TEST_SERVER=$(SERVER) TEST_BACKENDS="cluster sentinel acl" $(BIN)/python -m $(PARALLEL) $(CONTRACT)

browser: .venv/dev.stamp ## Try the pages in a real browser; needs Chromium
	$(BIN)/python -m pytest -m browser tests/service/test_browser.py tests/service/test_watch_in_browser.py

clients: .venv/dev.stamp .venv/clients.stamp ## Generate clients and do every operation with each, and check the document with tools; needs Java, Go and Node.js
	$(BIN)/python -m pytest -m clients tests/service/test_generated_clients.py tests/service/test_contract_tools.py tests/python_client/test_types.py

drop-in: .venv/dev.stamp .venv/drop-in.stamp ## Run build tools and others on /values, as docs/drop-in.md shows; make drop-in TOOLS=gradle for the one that is slow
	$(BIN)/python -m pytest -m drop_in -k "$(TOOLS)" tests/service/test_drop_in.py

granian: .venv/dev.stamp ## Run the tests that start a server on Granian
	TEST_WSGI_SERVER=granian $(BIN)/python -m $(PARALLEL) -k "gunicorn or TestStarting or test_stopping or TestWorkers or test_http or test_metrics or test_watch" \
		$(addprefix tests/service/processes/test_,starting.py stopping.py workers.py gunicorn_alone.py) \
		$(addprefix tests/service/test_,http.py metrics.py watch.py) \
		$(addprefix tests/contract/test_,keys.py items.py values.py transactions.py ndjson.py events.py long_polls.py)

proxies: .venv/dev.stamp ## Run the contract through nginx, Apache httpd, HAProxy, Caddy and Varnish, as docs/proxies.md sets them up
	$(BIN)/python -m pytest -m proxies tests/service/test_proxies.py

soak: .venv/dev.stamp ## Run the heavy tests, and many more random cases; make soak SEED=... repeats an earlier run
	@echo "make soak SEED=$(SEED)"
	TEST_SEED=$(SEED) TEST_KILLS=$(KILLS) TEST_REQUESTS=$(REQUESTS) \
		$(BIN)/python -m $(PARALLEL) --hypothesis-seed=$(SEED) -m "grows and not soak"
	TEST_SEED=$(SEED) $(BIN)/python -m $(PARALLEL) -m soak $(addprefix --ignore=,$(ALONE))
	TEST_SEED=$(SEED) $(BIN)/python -m pytest -m soak $(ALONE)

mutants: .venv/dev.stamp ## Make small faults, and show those that no test finds: make mutants COUNT=150; SEED as above
	SEED=$(SEED) COUNT=$(COUNT) $(BIN)/python -m tests.support.mutants

image: ## Build the image flaskvstore with Docker, or with Podman: make image ENGINE=podman
	$(ENGINE) build --tag flaskvstore .

image-test: .venv/dev.stamp ## Test that image, run without rights and with a read-only disk
	ENGINE=$(ENGINE) $(BIN)/python -m pytest -m image

bench: .venv/bench.stamp ## Measure what requests cost, and write docs/performance.md; needs wrk, webdis and etcd
	.venv/bench/bin/python -m benchmarks

bench-quick: .venv/bench.stamp ## Measure for some minutes, and print the result only
	.venv/bench/bin/python -m benchmarks --quick

monitoring-plots: .venv/dev.stamp ## Draw the pictures of docs/monitoring.md from a real run, with Prometheus
	$(BIN)/python -m tests.support.monitoring.plots docs/images

lock: .venv/dev.stamp ## Write the lock files again from setup.cfg
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --upgrade --extra server --extra build setup.cfg -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --upgrade --extra server --extra build --extra dev --constraint requirements.txt setup.cfg -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --upgrade tests/drop_in/requirements.in -o tests/drop_in/requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --upgrade --constraint requirements-dev.txt benchmarks/requirements.in -o benchmarks/requirements.txt

clean: ## Remove what the other targets have created, except the data in ./data
	rm -rf .venv build mutants *.egg-info .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

.venv/run.stamp: requirements.txt setup.cfg
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP_INSTALL) --require-hashes -r requirements.txt
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

.venv/dev.stamp: .venv/run.stamp requirements-dev.txt
	$(PIP_INSTALL) --require-hashes -r requirements-dev.txt
	touch $@

.venv/clients.stamp: tests/clients/package.json tests/clients/package-lock.json
	mkdir -p .venv/clients
	cp $^ .venv/clients
	npm ci --prefix .venv/clients --ignore-scripts --omit=optional --no-audit --no-fund
	touch $@

.venv/bench.stamp: .venv/dev.stamp benchmarks/requirements.txt
	$(BENCH_PYTHON) -m venv --without-pip .venv/bench
	$(PIP_INSTALL:install=--python .venv/bench/bin/python install) --require-hashes -r requirements.txt -r benchmarks/requirements.txt
	$(PIP_INSTALL:install=--python .venv/bench/bin/python install) --no-deps --no-build-isolation --editable .
	touch $@

.venv/drop-in.stamp: $(addprefix tests/drop_in/,requirements.txt package.json package-lock.json)
	$(PYTHON) -m venv .venv/drop-in
	.venv/drop-in/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	cp $(wordlist 2,3,$^) .venv/drop-in
	npm ci --prefix .venv/drop-in --ignore-scripts --omit=optional --no-audit --no-fund
	touch $@
