# Every target works from a clean clone; what it needs, it installs first. `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test lint format e2e e2e-nvim editors vsix kernels quality infilling benchmarks ablations bench-gpu corpus train clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt engine/kernels/native.c
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "midspan needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt "torch>=2.11"
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: $(STAMP) ## install, start the server as an editor would, print a real fill
	$(BIN)/midspan demo

test: $(STAMP) lint ## everything that needs no editor
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not e2e"

lint: $(STAMP) ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(STAMP) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Helix and Emacs come from Debian's archive; where they cannot be had, their tests are skipped and say so.
editors: ## fetch the real editors into .cache/
	.ci/fetch-neovim
	.ci/fetch-vscode
	-.ci/fetch-helix
	-.ci/fetch-emacs

e2e: $(STAMP) editors ## the real editors, headless: Neovim, VS Code in Chromium, Helix, Emacs
	$(BIN)/pytest -m e2e tests/editors

e2e-nvim: $(STAMP) ## Neovim alone: what is fetched in seconds
	.ci/fetch-neovim
	$(BIN)/pytest -m e2e tests/editors --ignore=tests/editors/vscode --ignore=tests/editors/helix --ignore=tests/editors/emacs

vsix: ## the VS Code extension as a file to install: editors/vscode/midspan.vsix
	cd editors/vscode && npm ci --ignore-scripts --no-audit --no-fund && npm run package

kernels: $(STAMP) ## compile every Triton kernel for GPUs that are not here; registers, spills, shared memory
	$(BIN)/python -m midspan.engine.kernels.aot --csv tests/bench/results/kernels_aot.csv

quality: $(STAMP) ## fills of unseen packages against their baselines, a sheet of samples: tests/quality/
	$(BIN)/pip install --quiet -c constraints.txt -e ".[quality]"
	$(BIN)/python tests/quality/held_out.py
	$(BIN)/python tests/quality/samples.py
	$(BIN)/python tests/quality/plots.py

benchmarks: $(STAMP) ## HumanEval-Infilling and SAFIM as a user gets them: BENCHMARKS names the evaluation's folder
	$(BIN)/python tests/quality/benchmarks.py $(BENCHMARKS)

ablations: $(STAMP) ## every choice of the training recipe against its alternative, at equal CPU time
	$(BIN)/python tests/quality/ablations.py

bench-gpu: $(STAMP) ## a denoise step at full size on this GPU; without one, its floors
	$(BIN)/python tests/bench/gpu.py

infilling: $(STAMP) ## HumanEval-Infilling, every length and stop mode: BENCHMARKS names the evaluation's folder
	$(BIN)/python tests/quality/infilling.py $(BENCHMARKS)

# BENCHMARKS names a folder of .jsonl(.gz) files whose text must not be trained on.
corpus: $(STAMP) ## fetch the training packages, build corpus and tokenizer under ~/.cache/midspan
	$(BIN)/python -m midspan.engine.training.corpus $(if $(BENCHMARKS),--benchmarks $(BENCHMARKS)) \
		--third-party engine/training/THIRD_PARTY.md
	$(BIN)/python -m midspan.engine.training.tokenizer

train: $(STAMP) ## train midspan-mini after the overfit check, export it, fit its gate; resumes
	$(BIN)/python -m midspan.engine.training.train --name overfit --docs 4 --overfit 200
	$(BIN)/python -m midspan.engine.training.train --name mini
	$(BIN)/python -m midspan.engine.training.export --name mini
	$(BIN)/python -m midspan.engine.training.fit_gate

clean: ## what was built, not what was downloaded
	rm -rf .venv build dist *.egg-info engine/kernels/*.so .pytest_cache .ruff_cache .hypothesis
