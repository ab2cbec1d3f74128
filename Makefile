# make demo   explain and audit the bundled sample and print the reports' paths
# make test   run the suite
# make check  lint and types
# make axe    fetch the accessibility checker for the browser tests
# make bench  the benchmarks
.PHONY: demo test check lint types axe bench clean
PYTHON ?= python3
BIN := .venv/bin

demo: .venv/ready
	@rm -rf xai-runs/demo xai-runs/demo-audit
	@$(BIN)/xai explain sample:shapes models/samples/shapes/images -o xai-runs/demo
	@$(BIN)/xai audit docs/audit.yaml -o xai-runs/demo-audit || test $$? -eq 1 -o $$? -eq 5  # some of it is violated

test: .venv/ready
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: lint types

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy does not follow the mapping of the four wings: it reads a tree laid out as installed.
types: .venv/dev
	@rm -rf build/typed && mkdir -p build/typed
	@cp -R xai build/typed/xai
	@for wing in models reports robustness; do cp -R $$wing build/typed/xai/$$wing; done
	cd build/typed && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p xai

# The accessibility checker that the browser tests run in the page; needs npm.
axe:
	npm install --silent --no-audit --no-fund --prefix build/axe axe-core@4.11.0

bench: .venv/ready
	$(BIN)/python -m benchmarks

.venv/ready: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

.venv/dev: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,dev]'
	@touch $@

clean:
	rm -rf .venv build dist xai-runs
