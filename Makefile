# Each target sets up what it needs in .venv; a stamp per extra makes the second run start at once.
# ARGS goes to the program behind the target: make test ARGS='-k windows', make demo ARGS=--keep
PYTHON ?= python3
ARGS ?=
PART ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo demo-packets test lint bench bench-guard bench-detection e2e faults fuzz soak

help: ## show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: .venv/.ready-demo ## train on real data, run the service on a real Apache Kafka and check its incidents (under 4 minutes)
	$(BIN)/monitor demo $(ARGS)

demo-packets: .venv/.ready-demo ## a capture of a small network through feed, Kafka, a model and the service; check what it says (a minute)
	$(BIN)/monitor demo --packets $(ARGS)

test: .venv/.ready-dev ## run all tests, on a real Apache Kafka, with coverage
	$(BIN)/python -m pytest --cov=monitor --cov-report=term $(ARGS)

lint: .venv/.ready-dev ## check style, formatting and types (changes nothing)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

faults: .venv/.ready-dev ## kill, freeze and cut members and brokers hundreds of times; writes docs/reliability.md (an hour or two, resumes)
	$(BIN)/python -m tests.faults $(ARGS)

e2e: .venv/.ready-dev ## install, roll, drain, kill and starve it on a real Kubernetes (docs/kubernetes.md says how it finds one)
	@if [ -n "$$MONITOR_KUBERNETES" ]; then tests/e2e/real_node.sh $(ARGS); \
		elif [ -n "$$KUBECONFIG" ]; then $(BIN)/python -m tests.e2e $(ARGS); \
		else echo "SKIPPED: neither KUBECONFIG (a cluster to test on) nor MONITOR_KUBERNETES (the tools for a node) is set"; fi

bench: .venv/.ready-dev ## cost, throughput, latency and memory beside peers; writes docs/performance.md (20 minutes; PART=latency for one part, ARGS=--quick for two minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.performance $(PART) $(ARGS)

bench-guard: .venv/.ready-dev ## fail where CPU of an event over raw consume + raw forward is a fifth above what is stored (two minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.performance.guard $(ARGS)

bench-detection: .venv/.ready-dev ## detection on five public sets with labels, in MONITOR_BENCHMARK_DATA; writes docs/detection.md (an hour, resumes)
	@if [ -n "$$MONITOR_BENCHMARK_DATA" ]; then OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.detection $(ARGS); else \
		echo "SKIPPED: MONITOR_BENCHMARK_DATA names no folder with skab, smd, nab, batadal and nsl_kdd"; fi

fuzz: .venv/.ready-dev ## a million hostile inputs for each reader (hours; goes on where it stopped; Linux on x86-64)
	$(BIN)/python -m tests.fuzz $(ARGS)

soak: .venv/.ready-dev ## ten million events with restarts: does memory stay flat (half an hour)
	$(BIN)/python -m tests.soak $(ARGS)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not: try make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/.ready-demo: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing the service, PyTorch and Java into .venv (about 5 GB once, a few minutes)"
	$(PIP) install --quiet --editable '.[train,demo,packets]' --constraint constraints.txt
	@touch $@

.venv/.ready-dev: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing the service, PyTorch, Java and the development tools into .venv (about 5 GB once, a few minutes)"
	$(PIP) install --quiet --editable '.[dev]' --constraint constraints.txt
	@touch $@ .venv/.ready-demo
