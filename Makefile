# `make demo` shows it, `make test` proves it, `make check` reads the code, `make quick` is that and the pure tests. All install what they need first.
# `make wheel` builds what an operator installs, `make release` all files of a release.

PYTHON ?= python3
BIN := .venv/bin

# Each package with the hashes of its files for all platforms. No index is named in the locks. The operator's packages come
# built (--only-binary): what a build would fetch has no hashes here.
LOCKING := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
	--custom-compile-command 'make lock'

.PHONY: demo test quick check format lock wheel release config-docs benchmark strangers house pictures clean

demo: .venv/ready
	@$(BIN)/fab sandbox provision deploy

test: .venv/ready-for-tests /usr/bin/chromedriver
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

quick: check
	$(BIN)/python -m pytest -n 3 --ignore tests/e2e $(ARGS)

check: .venv/ready-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready-for-tests
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# New packages in requirements.txt, or a new UV_VERSION; ARGS=--upgrade for newer versions of all.
lock: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/plan/uv-wheels.lock
	$(BIN)/uv pip compile $(LOCKING) $(ARGS) --only-binary :all: --emit-build-options requirements.txt -o requirements.lock
	$(BIN)/uv pip compile $(LOCKING) $(ARGS) tests/requirements.txt -o tests/requirements.lock
	$(BIN)/python -c 'from deploy.agent.layout import UV_VERSION; print(f"uv=={UV_VERSION}")' | \
		$(BIN)/uv pip compile $(LOCKING) - -o deploy/plan/uv-wheels.lock

# Dated like its commit, so a second build of the same files has the same bytes.
wheel: .venv/ready-for-tests
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m hatchling build -t wheel

# Publishes nothing.
release: .venv/ready-for-tests
	@$(BIN)/python -m docs.release

# docs/config.md and the comments of deploy.toml, after a change of deploy/config/schema.py.
config-docs: .venv/ready-for-tests
	$(BIN)/python -m deploy.config.document

benchmark: .venv/ready-for-tests
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.releases

# Web apps from PyPI that nobody here wrote, each on a throwaway server; ARGS="isso trixie" for a part.
strangers: .venv/ready-for-tests
	@$(BIN)/python tests/strangers/run.py $(ARGS)

house: .venv/ready
	@$(BIN)/python docs/house.py

pictures: .venv/ready-for-tests /usr/bin/chromedriver
	$(BIN)/python docs/pictures.py

.venv/ready: requirements.lock
	@echo "installing the operator's side into .venv (fabric, jinja2, rich)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

.venv/ready-for-tests: .venv/ready tests/requirements.lock
	@echo "installing what the tests need into .venv (pytest, ruff, mypy, selenium, the sample app)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.lock
	@touch $@

/usr/bin/chromedriver:
	@echo "installing Debian's chromium and chromium-driver, which the tests look at the page with"
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium chromium-driver

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache
