# make help lists the targets. Everything runs in .venv, which the first target that needs it sets up.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# Each test process and each of Ray's workers imports torch and more. Where an environment forbids bytecode, as images of
# containers often do, every one of them would compile all of it anew, which takes as long again as the import itself.
unexport PYTHONDONTWRITEBYTECODE
# Two test processes with threads of their own share the cores: threads that wait must not keep one busy.
export OMP_WAIT_POLICY = PASSIVE

.DEFAULT_GOAL := help
.PHONY: help install demo test slow-test docs sbom audit clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: $(STAMP)  ## the virtual environment in .venv, with the versions of constraints.txt

# Ends with a check of OpenCV: its wheel needs the system's libGL, which a server often lacks. The headless wheel of
# the same version holds the same module without the windows; facexlib asks for opencv-python by name, so it goes on top.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; name one with make PYTHON=...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt -e '.[test]'
	$(BIN)/python -c 'import cv2' || \
	  $(BIN)/python -m pip install --disable-pip-version-check --force-reinstall --no-deps \
	  opencv-python-headless==$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python"))')
	$(BIN)/python -c 'import cv2'
	@touch $@

demo: install  ## restore a small sample archive with the built-in demo weights, into demo/
	$(BIN)/interlcm demo --output demo

# Two test processes: much of a test is a cluster or a server that starts, which one core does as well as two. When one
# of them dies the tests end there, for xdist would wait for the dead one's share. The order is that of the files: by
# itself xdist leaves files of one long test for the end, when the other process has nothing to do.
test: install  ## ruff, mypy and the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

slow-test: install  ## the tests marked slow
	$(BIN)/pytest -m slow --timeout 3600

docs: install  ## the lists in the documents, from the code
	$(BIN)/python -m tests.reference

# The tools have an environment of their own: what checks the list must not be on it.
AUDIT := .audit/bin
.audit/.installed: Makefile
	$(PYTHON) -m venv .audit
	$(AUDIT)/python -m pip install --disable-pip-version-check cyclonedx-bom==7.5.0 pip-audit==2.10.1
	@touch $@

sbom: install .audit/.installed  ## sbom.json: all that is installed, with licences (CycloneDX)
	$(AUDIT)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o sbom.json $(BIN)/python
	$(BIN)/python -m tests.support.licences

# Strict: a package that PyPI says nothing about, as where a mirror answers in its place, is no pass.
audit: .audit/.installed  ## known vulnerabilities of the versions in constraints.txt; needs PyPI itself
	$(AUDIT)/pip-audit --strict --no-deps --disable-pip -r constraints.txt

clean:  ## remove the virtual environment, the caches and the demo's output
	rm -rf .venv .audit sbom.json demo build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
