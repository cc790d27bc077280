# Every target does all of its own set-up: a virtual environment from the lock file, made once.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers
DEMO ?= demo

# Commands and tests start hundreds of processes. Without bytecode each compiles what it loads again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check docs benchmark clean

demo: $(READY)
	$(VENV)/bin/datbatch demo $(DEMO)

test: $(READY)
	# One more than two cores have: a third of the time tests wait for a process, a clock or a network.
	$(VENV)/bin/python -m pytest -n 3

benchmark: $(READY)
	$(VENV)/bin/python benchmarks/cohort.py

# benchmark-reconstruction, benchmark-normalisation and so on: one file of benchmarks/ each, with the peers it names.
benchmark-%: $(PEERS)
	$(VENV)/bin/python benchmarks/$*.py

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Pages and reference as HTML in build/docs; needs no network once the environment stands.
docs: $(READY)
	$(VENV)/bin/python docs/tables.py
	$(VENV)/bin/python docs/build.py build/docs

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --requirement requirements.lock
	# pip compiles all on one core. Nobody loads the rest; some packages hold files that are no Python of today.
	$(VENV)/bin/python -m compileall -q -j 0 -x '/(tests?|testing|_inductor|onnx)/' $(VENV)/lib >/dev/null 2>&1 || true
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(PEERS): $(READY)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[benchmark]'
	# Alone: it asks for torchvision, whose build for this torch would bring another one along; relevance needs none of it.
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps zennit==0.5.1
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build
