# SPDX-License-Identifier: Apache-2.0
# The two commands of a newcomer are `make demo` and `make test`; both set up first, in a moment when that is done.
PYTHON ?= python3
PYTEST_ARGS ?=

# Without an explicit PYTHON an existing .venv keeps the version it was made with.
KEEP := $(if $(filter file,$(origin PYTHON)),--keep-python)
SETUP = PYTHONPATH=src/dex_bringup $(PYTHON) -m dex_bringup.setup_env $(KEEP)

.PHONY: help setup torch peers serve-env demo test doctor clean

help:  ## What can be made here
	@sed -n 's/^\([a-z-]*\):.*##\(.*\)/  make \1\t\2/p' Makefile | expand -t 20
	@echo "  PYTHON=python3.12 chooses the Python (3.10 to 3.13); PYTEST_ARGS=... goes to pytest"

setup:  ## Make or mend .venv: ROS 2 Jazzy wheels, messages, the stack in place
	@$(SETUP)

torch:  ## The same with torch, for training and export
	@$(SETUP) --learn

peers:  ## The same with the libraries that dex bench hand-ik, arm-ik and clouds measure beside ours
	@$(SETUP) --peers

serve-env:  ## Make .venv-serve with MLServer, an inference server for dex serve --run
	@test -x .venv-serve/bin/python || $(PYTHON) -m venv .venv-serve
	@.venv-serve/bin/pip install --quiet --disable-pip-version-check -r requirements-serve.txt

demo: setup  ## Run the cell in simulation: two cans are pushed together, pictures and figures
	@.venv/bin/dex demo

test: setup  ## Run the tests
	@.venv/bin/python -m pytest tests $(PYTEST_ARGS)

doctor: setup  ## Say what is installed, missing, reachable
	@.venv/bin/dex doctor

clean:  ## Remove .venv, .venv-serve and what colcon built
	rm -rf .venv .venv-serve build install log
