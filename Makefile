.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := medagent plugins/medagent-hl7/medagent_hl7 plugins/medagent-tcp/medagent_tcp plugins/medagent-astm/medagent_astm

.PHONY: help install demo test interop fuzz bad-neighbours large-messages connections disk-faults broken-plugins lint types check-imports format clean simulate ordered-keys crash-test power-cut-test takeover-test token-test link-cuts reload-test backlog plugin-faults bench

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: .venv/.installed ## Install medagent, its plugins and the development tools into .venv

.venv/.installed: pyproject.toml $(wildcard plugins/*/pyproject.toml) requirements-dev.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: install ## Run everything on this machine: FHIR server, agent, sender (ARGS=--once to end by itself)
	$(BIN)/medagent demo $(ARGS)

test: install lint types check-imports ## Run all checks and tests
	$(BIN)/pytest -n auto $(ARGS)

interop: install ## Install HL7 packages of npm and test against them (needs node and npm)
	cd tests/interop/node && npm ci --ignore-scripts --no-audit --no-fund
	$(BIN)/pytest tests/interop $(ARGS)

fuzz: install ## Fuzz the MLLP framing (SECONDS=60)
	$(BIN)/python tests/fuzz/fuzz_framing.py --seconds $(or $(SECONDS),60)

bad-neighbours: install ## Measure good devices alone and beside 1,000 bad ones (ARGS=--help)
	$(BIN)/python tests/load/bad_neighbours.py $(ARGS)

large-messages: install ## Measure small messages alone and beside messages of 5 MB (ARGS=--help)
	$(BIN)/python tests/load/large_messages.py $(ARGS)

connections: install ## Measure an agent with 10,000 open connections (ARGS=--help)
	$(BIN)/python tests/load/connections.py $(ARGS)

disk-faults: install ## Fail each single write and flush of a queue in turn (minutes)
	MEDAGENT_LONG_TESTS=1 $(BIN)/pytest tests/queue/sqlite/test_storage.py --timeout 3600 $(ARGS)

broken-plugins: install ## Put broken plugins through all tests of the contract suites, not only those that must find them
	MEDAGENT_LONG_TESTS=1 $(BIN)/pytest tests/testing/contracts --timeout 600 $(ARGS)

simulate: install ## Simulate the agent under seeded faults (ARGS="--seeds 1000 --hours 1", ARGS="--seed 17 --verbose")
	$(BIN)/python tests/simulation/simulate.py $(ARGS)

ordered-keys: install ## Check and measure the order within keys, in trouble and in peace (ARGS=--help)
	$(BIN)/python tests/load/ordered_keys.py $(ARGS)

crash-test: install ## Kill an agent under load, hundreds of times, and look for what is lost (ARGS=--help)
	$(BIN)/python tests/crash/kills.py $(ARGS)

power-cut-test: install ## Replay a recorded agent up to thousands of power cuts; needs strace (ARGS=--help)
	$(BIN)/python tests/crash/power_cuts.py $(ARGS)

takeover-test: install ## Have a second agent take over from a killed one, 500 times (ARGS=--help)
	$(BIN)/python tests/crash/second_process.py $(ARGS)

token-test: install ## Short-lived tokens under load with the token server down again and again (ARGS=--help)
	$(BIN)/python tests/load/tokens.py $(ARGS)

link-cuts: install ## Cut the link between an agent and its server, 5,000 times (ARGS=--help)
	$(BIN)/python tests/link/cuts.py $(ARGS)

reload-test: install ## Reload the configuration 200 times under 1,000 messages a second (ARGS=--help)
	$(BIN)/python tests/load/reloads.py $(ARGS)

plugin-faults: install ## Measure good devices beside 30 faulty plugins, one after the other (ARGS=--help)
	$(BIN)/python tests/isolation/plugin_faults.py $(ARGS)

backlog: install ## Queue 1,000,000 messages without a server, restart, drain them (ARGS=--help)
	$(BIN)/python tests/load/backlog.py $(ARGS)

bench: install ## Measure the agent beside the ceilings of the machine (ARGS="--only pipelined", ARGS=--help)
	@$(BIN)/python tests/benchmarks/bench.py run $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy $(PACKAGES)

check-imports: install
	$(BIN)/lint-imports

format: install ## Format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what was built
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
