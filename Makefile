# `make demo` shows it, `make test` proves it, `make check` reads the code. All install what they need first.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check format benchmark pictures clean

demo: .venv/ready
	@$(BIN)/fab sandbox provision deploy

test: .venv/ready-for-tests /usr/bin/chromedriver
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: .venv/ready-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready-for-tests
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: .venv/ready-for-tests
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.releases

pictures: .venv/ready-for-tests /usr/bin/chromedriver
	$(BIN)/python docs/pictures.py

.venv/ready: requirements.txt webapp/requirements.txt
	@echo "installing the operator's side into .venv (fabric, jinja2, flask, …)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/ready-for-tests: .venv/ready tests/requirements.txt
	@echo "installing what the tests need into .venv (pytest, ruff, mypy, selenium)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

/usr/bin/chromedriver:
	@echo "installing Debian's chromium and chromium-driver, which the tests look at the page with"
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium chromium-driver

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
