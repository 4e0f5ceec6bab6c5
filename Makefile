# make help lists the targets. Everything runs in .venv; the first target that needs it creates it.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# Each test process and each Ray worker imports torch and more. If the environment forbids bytecode, as container images
# often do, each process compiles all of it again, which doubles the time of the import.
unexport PYTHONDONTWRITEBYTECODE
# Two test processes, each with threads, share the cores: waiting threads must not keep a core busy.
export OMP_WAIT_POLICY = PASSIVE

.DEFAULT_GOAL := help
.PHONY: help install demo test slow-test gpu-check docs sbom audit clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: $(STAMP)  ## create .venv, with the versions of constraints.txt

# iiif-prezi3, which the tests read IIIF manifests with, asks for a Pillow of last year and does without: --no-deps.
# The last step checks OpenCV: its wheel needs the system's libGL, which a server often lacks. The headless wheel of the
# same version has the same module without windows. It is installed on top, because facexlib requires opencv-python.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; name one with make PYTHON=...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt -e '.[test]'
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt --no-deps iiif-prezi3
	$(BIN)/python -c 'import cv2' || \
	  $(BIN)/python -m pip install --disable-pip-version-check --force-reinstall --no-deps \
	  opencv-python-headless==$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python"))')
	$(BIN)/python -c 'import cv2'
	@touch $@

demo: install  ## restore a small sample archive with the built-in demo weights, into demo/
	$(BIN)/interlcm demo --output demo

# Two test processes: tests often wait for a cluster or a server to start. If a process dies, the tests end, because xdist
# would wait for the dead process's share. The tests run in the order of the files: xdist's own order leaves long tests
# for the end, when the other process has nothing to do. mypy works beside them, while they wait, and is shown last.
test: install  ## run ruff, mypy and the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@types=$$(mktemp); $(BIN)/mypy >$$types 2>&1 & mypy=$$!; \
	set -x; $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0; tests=$$?; \
	{ set +x; } 2>/dev/null; wait $$mypy; mypy=$$?; echo mypy; cat $$types; rm $$types; exit $$((tests || mypy))

slow-test: install  ## run the tests marked slow
	$(BIN)/pytest -m slow --timeout 3600

gpu-check: install  ## measure on a GPU, within ten minutes, what the model's defaults should be
	$(BIN)/python -m tests.scale.gpu_check

docs: install  ## update the lists in the documents from the code
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
