# GoRA and a head start beside LoRA on word problems: base -> grad -> score -> plan -> init -> train -> eval.
#
#   make -f pipelines/math.mk                 the embedded default: our own small base, generated problems, three seeds
#   make -f pipelines/math.mk MODEL=/models/Llama-3.1-8B TRAIN=MetaMathQA.json TEST=gsm8k_test.jsonl \
#        RANK=8 GAMMA=0.08 STEPS=64           the paper's job: GoRA, one seed, its protocol
#   make -n -f pipelines/math.mk              the method, command by command
#   make -f pipelines/math.mk report          the same, and a page with pictures of it
#   PIPE=1                                    score | plan | init as one pipe
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
.DEFAULT_GOAL := table

# What is tuned and on what; without TRAIN and TEST problems are generated.
MODEL ?= $(ROOT)/pipelines/base
OUT ?= results/math
TRAIN ?= $(OUT)/train.jsonl
TEST ?= $(OUT)/test.jsonl

# The method: initial step, micro-batches of the gradient and rows in each.
GAMMA ?= 0.05
STEPS ?= 64
GRAD_BATCH ?= 1
# exact: the trainable parameters of plain LoRA; open: the paper's formula.
BUDGET ?= exact

ifeq ($(MODEL),$(ROOT)/pipelines/base)
# The default experiment. The rates of lora (5e-3 to 2e-2) and gora (3e-4 to 1.2e-3) are each method's best of a grid by factors of 2, by the
# answers to 400 other problems of the train split (three seeds at the two best), that of head-start of 3e-3 and 6e-3 by 200 of them; the
# others' are not swept.
TARGETS ?= all-linear
RANK ?= 16
METHODS ?= lora gora head-start
SEEDS ?= 0 1 2
# Rows a step, and steps.
BATCH ?= 8
TRAIN_STEPS ?= 200
MAX_NEW ?= 160
LR_lora ?= 1e-2
LR_rslora ?= 3e-3
LR_loraplus ?= 1e-3
LR_gora ?= 6e-4
LR_head-start ?= 6e-3
else
# The paper's protocol: one epoch, batches of 64, one rate for all methods.
TARGETS ?= q_proj,k_proj,v_proj,o_proj
RANK ?= 8
METHODS ?= gora
SEEDS ?= 0
BATCH ?= 64
TRAIN_STEPS ?=
MAX_NEW ?= 512
LR ?= 5e-5
LR_lora ?= $(LR)
LR_rslora ?= $(LR)
LR_loraplus ?= $(LR)
LR_gora ?= $(LR)
LR_head-start ?= $(LR)
endif
LR_full ?= 5e-4

# How the methods differ: plan, start, and the rate of B over that of A.
RATIO_lora ?= 1
RATIO_rslora ?= 1
RATIO_loraplus ?= 16
RATIO_gora ?= 16
RATIO_head-start ?= 1
SCALING_lora := lora
SCALING_loraplus := lora
SCALING_rslora := rslora

# How prompts are wrapped, where not by the kind of row: a name or file for --template; in evaluation the same.
TEMPLATE ?=
EVAL_TEMPLATE ?= $(TEMPLATE)
# TRAIN and TEST are GLUE's files of this task, in these words, where they are (glue.mk).
GLUE ?=
PROMPTS ?=
# What of a row is learnt, and tokens kept of it, where not as by default.
LEARN ?=
MAX_LENGTH ?=
# What is measured, and what the table shows of it. code.mk, chat.mk and commonsense.mk have other tasks with options of their own, files
# that these read, and of each result a file that they write.
TASK ?= gsm8k
METRIC ?= accuracy
TASK_FLAGS ?=
TASK_INPUTS ?=
TASK_OUTPUTS ?=
# More options for gora-grad, gora-train and gora-eval, such as --max-length 1024 and --limit 100.
GRAD_FLAGS ?=
TRAIN_FLAGS ?=
EVAL_FLAGS ?=
PIPE ?=

$(call paths,MODEL OUT TRAIN TEST)
UNKNOWN := $(filter-out lora rslora loraplus gora head-start,$(METHODS))
$(if $(UNKNOWN),$(error no such method: $(UNKNOWN); there are: lora rslora loraplus gora head-start))
$(if $(and $(METHODS),$(SEEDS)),,$(error METHODS and SEEDS must name one or more))

MODEL_FILES := $(call model-files,$(MODEL))
GLUE_FLAGS := $(GLUE:%=--glue %) $(PROMPTS:%=--prompts %)
ROW_FLAGS := $(GLUE_FLAGS) $(TEMPLATE:%=--template %) $(LEARN:%=--learn %) $(MAX_LENGTH:%=--max-length %)
# $(call evaluate,FOLDER/NAME): the options of an evaluation whose samples are NAMEsamples.jsonl.
evaluate = --task $(TASK) --data $(TEST) $(GLUE_FLAGS) $(EVAL_TEMPLATE:%=--template %) --max-new-tokens $(MAX_NEW) $(TASK_FLAGS) $(EVAL_FLAGS) \
  --samples $(1)samples.jsonl $(TASK_OUTPUTS:%=% $(1)requests.jsonl) $(SHARED_THREADS) $(FLAGS)
$(call settings,grad,MODEL TRAIN ROW_FLAGS TARGETS STEPS GRAD_BATCH GRAD_FLAGS)
$(call settings,walk,MODEL TRAIN ROW_FLAGS TARGETS BATCH HEAD_STEPS HEAD_WARMUP HEAD_LR GRAD_FLAGS)
$(call settings,plan,RANK BUDGET)
$(call settings,init,GAMMA)
$(call settings,eval,MODEL TEST GLUE_FLAGS TASK_FLAGS EVAL_TEMPLATE MAX_NEW EVAL_FLAGS)
$(call settings,table,METHODS SEEDS)

.PHONY: table report
table: $(OUT)/table.txt
	@cat $<

report: $(OUT)/report.html

RESULTS := $(foreach seed,$(SEEDS),$(foreach method,$(METHODS),$(OUT)/seed-$(seed)/$(method)/result.json))

$(OUT)/table.txt: $(OUT)/base.json $(RESULTS) $(OUT)/settings/table
	$(ROOT)/pipelines/table $(OUT) "$(METHODS)" "$(SEEDS)" $(METRIC) > $@

$(OUT)/report.html: $(OUT)/table.txt | $(TOOLS)
	$(BIN)gora-report $(OUT) $(FLAGS) -o $@

ifneq ($(TASK),gsm8k)
$(OUT)/train.jsonl $(OUT)/test.jsonl:
	@echo 'error: TRAIN=FILE and TEST=FILE name the data of $(TASK), which is not made here' >&2; exit 1
else
# Generated problems: thousands to train on, 400 held out.
$(OUT)/train.jsonl: | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --kind problems --split train --count 4000 --seed 0 -o $@

$(OUT)/test.jsonl: | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --kind problems --split test --count 400 --seed 0 -o $@
endif

$(OUT)/base.json: $(TEST) $(TASK_INPUTS) $(MODEL_FILES) $(OUT)/settings/eval | $(TOOLS)
	$(TIMED) $@ $(LAUNCH) $(BIN)gora-eval --model $(MODEL) $(call evaluate,$(OUT)/base-) -o $@

# Each seed: the gradient, its scores and GoRA's plan.
$(SEEDS:%=$(OUT)/seed-%/grad.h5): $(OUT)/seed-%/grad.h5: $(TRAIN) $(MODEL_FILES) $(OUT)/settings/grad | $(TOOLS)
	$(TIMED) $@ $(LAUNCH) $(BIN)gora-grad --model $(MODEL) --data $(TRAIN) $(ROW_FLAGS) --targets $(TARGETS) --steps $(STEPS) \
	  --batch-size $(GRAD_BATCH) $(GRAD_FLAGS) --seed $* $(SHARED_THREADS) $(FLAGS) -o $@

$(SEEDS:%=$(OUT)/seed-%/scores.json): $(OUT)/seed-%/scores.json: $(OUT)/seed-%/grad.h5
	$(TIMED) $@ $(BIN)gora-score --model $(MODEL) $< $(FLAGS) -o $@

$(SEEDS:%=$(OUT)/seed-%/gora/plan.json): $(OUT)/seed-%/gora/plan.json: $(OUT)/seed-%/scores.json $(OUT)/settings/plan
	$(TIMED) $@ $(BIN)gora-plan $< --rank $(RANK) --budget $(BUDGET) $(FLAGS) -o $@

# GoRA's start: B is the least-squares answer to the gradient.
GORA_STARTS := $(SEEDS:%=$(OUT)/seed-%/gora/init/adapter_config.json)
ifeq ($(PIPE),)
$(GORA_STARTS): $(OUT)/seed-%/gora/init/adapter_config.json: $(OUT)/seed-%/gora/plan.json $(OUT)/seed-%/grad.h5 $(OUT)/settings/init
	$(TIMED) $@ $(BIN)gora-init $< --model $(MODEL) --gradients $(OUT)/seed-$*/grad.h5 --gamma $(GAMMA) --seed $* \
	  -t $(THREADS) $(FLAGS) -o $(@D)
else
$(GORA_STARTS): $(OUT)/seed-%/gora/init/adapter_config.json: $(OUT)/seed-%/grad.h5 $(OUT)/settings/plan $(OUT)/settings/init
	$(BIN)gora-score --model $(MODEL) $< $(FLAGS) | $(BIN)gora-plan - --rank $(RANK) --budget $(BUDGET) $(FLAGS) \
	  | $(TIMED) $@ $(BIN)gora-init - --model $(MODEL) --gradients $< --gamma $(GAMMA) --seed $* -t $(THREADS) $(FLAGS) -o $(@D)
endif

# The head start: where a few steps of all the weights lead, in a plan that names it; training takes its rule of steps from it.
$(call settings,plan-head-start,MODEL TARGETS RANK)
$(SEEDS:%=$(OUT)/seed-%/explored.h5): $(OUT)/seed-%/explored.h5: $(TRAIN) $(MODEL_FILES) $(OUT)/settings/walk | $(TOOLS)
	$(TIMED) $@ $(LAUNCH) $(BIN)gora-grad --model $(MODEL) --data $(TRAIN) $(ROW_FLAGS) --targets $(TARGETS) --batch-size $(BATCH) \
	  $(WALK) $(GRAD_FLAGS) --seed $* $(SHARED_THREADS) $(FLAGS) -o $@

$(SEEDS:%=$(OUT)/seed-%/head-start/plan.json): $(MODEL_FILES) $(OUT)/settings/plan-head-start | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-plan --preset head-start --model $(MODEL) --targets $(TARGETS) --rank $(RANK) $(FLAGS) -o $@

$(SEEDS:%=$(OUT)/seed-%/head-start/init/adapter_config.json): $(OUT)/seed-%/head-start/init/adapter_config.json: \
  $(OUT)/seed-%/head-start/plan.json $(OUT)/seed-%/explored.h5
	$(TIMED) $@ $(BIN)gora-init $< --model $(MODEL) --gradients $(OUT)/seed-$*/explored.h5 --seed $* -t $(THREADS) $(FLAGS) -o $(@D)

# The plain methods: one rank everywhere, B = 0; they differ in scale and rates.
define plain_method
$$(call settings,plan-$(1),MODEL TARGETS RANK SCALING_$(1))

$(SEEDS:%=$(OUT)/seed-%/$(1)/plan.json): $(MODEL_FILES) $(OUT)/settings/plan-$(1) | $(TOOLS)
	mkdir -p $$(@D)
	$(BIN)gora-plan --uniform --model $(MODEL) --targets $(TARGETS) --rank $(RANK) --scaling $(SCALING_$(1)) $(FLAGS) -o $$@

$(SEEDS:%=$(OUT)/seed-%/$(1)/init/adapter_config.json): $(OUT)/seed-%/$(1)/init/adapter_config.json: $(OUT)/seed-%/$(1)/plan.json
	$(TIMED) $$@ $(BIN)gora-init $$< --model $(MODEL) --method lora --seed $$* -t $(THREADS) $(FLAGS) -o $$(@D)
endef
$(foreach method,lora rslora loraplus,$(eval $(call plain_method,$(method))))

# Training and evaluation are the same for all. --resume: an interrupted make goes on where it was.
define train_and_eval
$$(call settings,train-$(1),TRAIN ROW_FLAGS BATCH TRAIN_STEPS LR_$(1) RATIO_$(1) TRAIN_FLAGS)

$(SEEDS:%=$(OUT)/seed-%/$(1)/tuned/adapter_config.json): $(OUT)/seed-%/$(1)/tuned/adapter_config.json: \
  $(OUT)/seed-%/$(1)/init/adapter_config.json $(TRAIN) $(OUT)/settings/train-$(1)
	$$(call drop-stale,$$(@D)/checkpoint,$$^)
	$(TIMED) $$@ $(LAUNCH) $(BIN)gora-train $$(<D) --model $(MODEL) --data $(TRAIN) $(ROW_FLAGS) --batch-size $(BATCH) \
	  $$(if $(TRAIN_STEPS),--max-steps $(TRAIN_STEPS)) --lr $(LR_$(1)) --lr-ratio $(RATIO_$(1)) $(TRAIN_FLAGS) \
	  --log $(OUT)/seed-$$*/$(1)/metrics.jsonl --resume --seed $$* $(SHARED_THREADS) $(FLAGS) -o $$(@D)

$(SEEDS:%=$(OUT)/seed-%/$(1)/result.json): $(OUT)/seed-%/$(1)/result.json: $(OUT)/seed-%/$(1)/tuned/adapter_config.json \
  $(TEST) $(TASK_INPUTS) $(OUT)/settings/eval
	$(TIMED) $$@ $(LAUNCH) $(BIN)gora-eval --model $(MODEL) --adapter $$(<D) $$(call evaluate,$(OUT)/seed-$$*/$(1)/) -o $$@
endef
$(foreach method,lora rslora loraplus gora head-start,$(eval $(call train_and_eval,$(method))))
