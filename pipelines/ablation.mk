# The paper's ablations in small, each row twice: at the paper's protocol, which is one rate for all, and at the row's own best
# rate of one sweep. Published gains over LoRA shrink when LoRA gets its own rate too; this table shows by how much.
#
#   make -f pipelines/ablation.mk             the embedded base, generated problems, three seeds; half an hour on two cores
#   make -f pipelines/ablation.mk ROWS='lora gora gamma-0' RATES='2e-4 4e-4'      a part of it
#   make -f pipelines/ablation.mk EVAL=gsm8k  accuracy on the held-out problems too
#   make -f pipelines/ablation.mk MODEL=/models/stories260K DATA=train.jsonl TEST=test.jsonl
#   make -n -f pipelines/ablation.mk sweep    what is run to choose the rates
#
# Results: table.txt, table.json, and runs.tsv with a line for each run, in OUT. An interrupted make goes on where it was.
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
ABLATION := $(ROOT)/pipelines/ablation.mk
.DEFAULT_GOAL := table

# What is tuned and on what, in JSON Lines. The last HELD_OUT rows of DATA are not trained on: they choose the rates. TEST is what
# the table tells of.
MODEL ?= $(ROOT)/pipelines/base
OUT ?= results/ablation
DATA ?= $(OUT)/data.jsonl
TEST ?= $(OUT)/test.jsonl
HELD_OUT ?= 200
TARGETS ?= all-linear

# loss, or gsm8k for accuracy as well.
EVAL ?= loss
MAX_NEW ?= 160

# Training: rows a step, steps, the seeds. The first seed chooses the rates.
BATCH ?= 8
TRAIN_STEPS ?= 60
SEEDS ?= 0 1 2
# Rates of A. That of B is RATIO times as large, as in the paper; the rows -equal have equal rates and hence a grid of their own.
RATES ?= 1e-4 2e-4 4e-4 8e-4 1.6e-3
RATES_EQUAL ?= 8e-4 1.6e-3 3.2e-3 6.4e-3 1.28e-2
RATIO ?= 16
# The rate of all rows in the first part of the table.
COMMON_RATE ?= 4e-4

# The method's defaults, which the row gora is made with: budget, N micro-batches of the gradient, and rows in each.
RANK ?= 8
BUDGET ?= exact
GAMMA ?= 5e-2
STEPS ?= 64
GRAD_BATCH ?= $(BATCH)
# Learning rate of GoRA-pro's steps.
EXPLORE_LR ?= 1e-4
# More options for gora-train.
TRAIN_FLAGS ?=

# Ranks of the row gora; like the other ranges below those of the paper, which are for RANK 8.
RANKS ?= 4-32

# The rows, each by what it changes of these. gradient: N, stable or adalomo; ranks: LOWEST-HIGHEST, or uniform for LoRA's; a: the
# --a of gora-init, which makes the step's size exact where A is not random.
DEFAULTS := gradient=$(STEPS) metric=sensitivity ranks=$(RANKS) gamma=$(GAMMA) a=kaiming ratio=$(RATIO)
ROW_lora := ranks=uniform gamma=0
ROW_lora-equal := ranks=uniform gamma=0 ratio=1
ROW_gora :=
ROW_ranks-8-8 := ranks=8-8
ROW_ranks-6-15 := ranks=6-15
ROW_ranks-4-32 := ranks=4-32
ROW_gamma-0 := gamma=0
ROW_gamma-3e-2 := gamma=3e-2
ROW_gamma-5e-2 := gamma=5e-2
ROW_gamma-8e-2 := gamma=8e-2
ROW_gamma-auto := gamma=auto
ROW_gradient-nuclear := metric=gradient-nuclear
ROW_sensitivity-nuclear := metric=sensitivity-nuclear
ROW_n-8 := gradient=8
ROW_n-32 := gradient=32
ROW_n-64 := gradient=64
ROW_n-stable := gradient=stable
ROW_pro := gradient=adalomo
ROW_a-gradient-svd := a=gradient-svd
ROW_a-gradient-svd-2e-2 := a=gradient-svd gamma=2e-2
ROW_a-weight-svd := a=weight-svd
ROW_gora-equal := ratio=1
ROW_ranks-8-8-equal := ranks=8-8 ratio=1
ROW_sensitivity-nuclear-equal := metric=sensitivity-nuclear ratio=1
ROW_gamma-0-equal := gamma=0 ratio=1
ROW_gamma-auto-equal := gamma=auto ratio=1
ROW_a-gradient-svd-equal := a=gradient-svd ratio=1
ROW_a-weight-svd-equal := a=weight-svd ratio=1
ALL := lora lora-equal gora ranks-8-8 ranks-6-15 ranks-4-32 gamma-0 gamma-3e-2 gamma-5e-2 gamma-8e-2 gamma-auto \
  gradient-nuclear sensitivity-nuclear n-8 n-32 n-64 n-stable pro a-gradient-svd a-gradient-svd-2e-2 a-weight-svd \
  gora-equal ranks-8-8-equal sensitivity-nuclear-equal gamma-0-equal gamma-auto-equal a-gradient-svd-equal a-weight-svd-equal

# setting ROW,KEY: what ROW has for KEY. settings-word ROW: all of them, as one word.
setting = $(patsubst $(2)=%,%,$(lastword $(filter $(2)=%,$(DEFAULTS) $(ROW_$(1)))))
settings-word = $(subst $(blank),/,$(foreach key,gradient metric ranks gamma a ratio,$(call setting,$(1),$(key))))
# first ROW: the first row with the settings of ROW. Its files are those of ROW, so that no run is made twice.
first = $(firstword $(foreach row,$(ALL),$(if $(filter $(call settings-word,$(row)),$(call settings-word,$(1))),$(row))))

# By default every row that differs from those before it.
ROWS ?= $(foreach each,$(ALL),$(if $(filter $(each),$(call first,$(each))),$(each)))
UNKNOWN := $(filter-out $(ALL),$(ROWS))
$(if $(UNKNOWN),$(error no such row: $(UNKNOWN); there are: $(ALL)))
RUN := $(sort $(foreach each,$(ROWS),$(call first,$(each))))

$(call paths,MODEL OUT DATA TEST)
$(if $(and $(ROWS),$(SEEDS),$(RATES),$(RATES_EQUAL)),,$(error ROWS, SEEDS, RATES and RATES_EQUAL must name one or more))

MODEL_FILES := $(call model-files,$(MODEL))
$(call settings,split,DATA HELD_OUT)
$(call settings,gradient,MODEL TARGETS STEPS GRAD_BATCH EXPLORE_LR)
$(call settings,plan,MODEL TARGETS RANK BUDGET)
$(call settings,train,BATCH TRAIN_STEPS TRAIN_FLAGS)
$(call settings,eval,MODEL TEST)
$(call settings,answers,MAX_NEW)

FIRST_SEED := $(firstword $(SEEDS))
# grid ROW: the rates that are tried; best ROW: the chosen one, once it is.
grid = $(if $(filter 1,$(call setting,$(1),ratio)),$(RATES_EQUAL),$(RATES))
best = $(if $(wildcard $(OUT)/rates/$(1)),$(file < $(OUT)/rates/$(1)),BEST)

# always: choices and table are made anew, as they depend on ROWS, RATES and SEEDS too; that takes a moment.
.PHONY: table sweep chosen always
CHOICES := $(foreach row,$(RUN),$(OUT)/rates/$(row))
sweep: $(CHOICES)

# The best rates are known after the sweep: hence a second make.
table: sweep
	@$(MAKE) -f $(ABLATION) chosen

chosen: $(OUT)/table.txt
	@cat $<

always:

MEASURED := test.json $(if $(filter gsm8k,$(EVAL)),answers.json)
RESULTS := $(foreach row,$(RUN),$(foreach rate,$(sort $(COMMON_RATE) $(call best,$(row))),$(foreach seed,$(SEEDS),\
  $(MEASURED:%=$(OUT)/seed-$(seed)/$(row)/$(rate)/%))))

# A line for each row: name, folder, common rate, own rate and where it stands in its grid, gradient.
$(OUT)/table.txt: $(RESULTS) $(OUT)/base.json $(CHOICES) always
	{ $(foreach row,$(ROWS),$(foreach run,$(call first,$(row)),\
	  echo $(row) $(run) $(COMMON_RATE) $(call best,$(run)) $(firstword $(call grid,$(run))) $(lastword $(call grid,$(run))) \
	  $(call setting,$(run),gradient) $(call setting,$(run),ranks);)) } \
	  | $(ROOT)/pipelines/ablation-table $(OUT) "$(SEEDS)" $(RATIO) $(TRAIN_STEPS) $(BATCH) > $@

# Data. Generated problems unless others are given.
$(OUT)/data.jsonl: $(OUT)/settings/split | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --kind problems --split train --count $$((4000 + $(HELD_OUT))) --seed 0 -o $@

$(OUT)/test.jsonl: | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --kind problems --split test --count 400 --seed 0 -o $@

$(OUT)/train.jsonl: $(DATA) $(OUT)/settings/split
	mkdir -p $(@D)
	head -n -$(HELD_OUT) $< > $@

$(OUT)/validation.jsonl: $(DATA) $(OUT)/settings/split
	mkdir -p $(@D)
	tail -n $(HELD_OUT) $< > $@

$(OUT)/base.json: $(TEST) $(MODEL_FILES) $(OUT)/settings/eval | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-eval --model $(MODEL) --task loss --data $< -t $(THREADS) $(FLAGS) -o $@

# Gradients and scores: one for each seed and setting, whichever rows use them.
GRADIENT_stable := --until-stable
GRADIENT_adalomo := --explore adalomo --explore-lr $(EXPLORE_LR)
define gradient
$(SEEDS:%=$(OUT)/seed-%/gradient-$(1).h5): $(OUT)/seed-%/gradient-$(1).h5: $(OUT)/train.jsonl $(MODEL_FILES) $(OUT)/settings/gradient | $(TOOLS)
	$(TIMED) $$@ $(BIN)gora-grad --model $(MODEL) --data $$< --targets $(TARGETS) --batch-size $(GRAD_BATCH) \
	  $(if $(filter stable adalomo,$(1)),--steps $(STEPS) $(GRADIENT_$(1)),--steps $(1)) --seed $$* -t $(THREADS) $(FLAGS) -o $$@
endef
$(foreach name,$(sort $(foreach row,$(ALL),$(call setting,$(row),gradient))),$(eval $(call gradient,$(name))))

define score
$(SEEDS:%=$(OUT)/seed-%/$(1)-of-$(2).json): $(OUT)/seed-%/$(1)-of-$(2).json: $(OUT)/seed-%/gradient-$(2).h5
	$(TIMED) $$@ $(BIN)gora-score --model $(MODEL) $$< --metric $(1) $(FLAGS) -o $$@
endef
$(foreach pair,$(sort $(foreach row,$(ALL),$(call setting,$(row),metric)/$(call setting,$(row),gradient))),\
  $(eval $(call score,$(patsubst %/,%,$(dir $(pair))),$(notdir $(pair)))))

# plan_and_init ROW,GRADIENT,METRIC,LOWEST,HIGHEST,GAMMA,A
define plan_and_init
$(SEEDS:%=$(OUT)/seed-%/$(1)/plan.json): $(OUT)/seed-%/$(1)/plan.json: $(OUT)/seed-%/$(3)-of-$(2).json $(OUT)/settings/plan \
  $(OUT)/settings/row-$(1)
	$(TIMED) $$@ $(BIN)gora-plan $$< --rank $(RANK) --min-rank $(4) --max-rank $(5) --budget $(BUDGET) $(FLAGS) -o $$@

$(SEEDS:%=$(OUT)/seed-%/$(1)/init/adapter_config.json): $(OUT)/seed-%/$(1)/init/adapter_config.json: \
  $(OUT)/seed-%/$(1)/plan.json $(OUT)/seed-%/gradient-$(2).h5 $(if $(filter auto,$(6)),$(OUT)/settings/train)
	$(TIMED) $$@ $(BIN)gora-init $$< --model $(MODEL) --gradients $(OUT)/seed-$$*/gradient-$(2).h5 --a $(7) \
	  --gamma $(6)$(if $(filter auto,$(6)), --data $(OUT)/train.jsonl --batch-size $(BATCH)) \
	  --seed $$* -t $(THREADS) $(FLAGS) -o $$(@D)
endef

define plain
$(SEEDS:%=$(OUT)/seed-%/$(1)/plan.json): $(MODEL_FILES) $(OUT)/settings/plan $(OUT)/settings/row-$(1) | $(TOOLS)
	mkdir -p $$(@D)
	$(BIN)gora-plan --uniform --model $(MODEL) --targets $(TARGETS) --rank $(RANK) $(FLAGS) -o $$@

$(SEEDS:%=$(OUT)/seed-%/$(1)/init/adapter_config.json): $(OUT)/seed-%/$(1)/init/adapter_config.json: $(OUT)/seed-%/$(1)/plan.json
	$(TIMED) $$@ $(BIN)gora-init $$< --model $(MODEL) --method lora --seed $$* -t $(THREADS) $(FLAGS) -o $$(@D)
endef

# train ROW,RATE,RATIO. --resume: an interrupted make goes on where it was.
define train
$(SEEDS:%=$(OUT)/seed-%/$(1)/$(2)/tuned/adapter_config.json): $(OUT)/seed-%/$(1)/$(2)/tuned/adapter_config.json: \
  $(OUT)/seed-%/$(1)/init/adapter_config.json $(OUT)/train.jsonl $(OUT)/settings/train
	$$(call drop-stale,$$(@D)/checkpoint,$$^)
	$(TIMED) $$@ $(BIN)gora-train $$(<D) --model $(MODEL) --data $(OUT)/train.jsonl --batch-size $(BATCH) \
	  --max-steps $(TRAIN_STEPS) --lr $(2) --lr-ratio $(3) $(TRAIN_FLAGS) --log $$(@D).metrics.jsonl --resume --seed $$* \
	  -t $(THREADS) $(FLAGS) -o $$(@D)

$(SEEDS:%=$(OUT)/seed-%/$(1)/$(2)/validation.json): $(OUT)/seed-%/$(1)/$(2)/validation.json: \
  $(OUT)/seed-%/$(1)/$(2)/tuned/adapter_config.json $(OUT)/validation.jsonl
	$(BIN)gora-eval --model $(MODEL) --adapter $$(<D) --task loss --data $(OUT)/validation.jsonl -t $(THREADS) $(FLAGS) -o $$@

$(SEEDS:%=$(OUT)/seed-%/$(1)/$(2)/test.json): $(OUT)/seed-%/$(1)/$(2)/test.json: \
  $(OUT)/seed-%/$(1)/$(2)/tuned/adapter_config.json $(TEST) $(OUT)/settings/eval
	$(BIN)gora-eval --model $(MODEL) --adapter $$(<D) --task loss --data $(TEST) -t $(THREADS) $(FLAGS) -o $$@

$(SEEDS:%=$(OUT)/seed-%/$(1)/$(2)/answers.json): $(OUT)/seed-%/$(1)/$(2)/answers.json: \
  $(OUT)/seed-%/$(1)/$(2)/tuned/adapter_config.json $(TEST) $(OUT)/settings/eval $(OUT)/settings/answers
	$(BIN)gora-eval --model $(MODEL) --adapter $$(<D) --task gsm8k --data $(TEST) --max-new-tokens $(MAX_NEW) \
	  -t $(THREADS) $(FLAGS) -o $$@
endef

# The rate with the least validation loss.
define choose
$(OUT)/rates/$(1): $(foreach rate,$(call grid,$(1)),$(OUT)/seed-$(FIRST_SEED)/$(1)/$(rate)/validation.json) always
	mkdir -p $$(@D)
	for rate in $(call grid,$(1)); do \
	  echo $$$$(sed -n 's/^ *"loss": *\([-+.e0-9]*\).*/\1/p' $(OUT)/seed-$(FIRST_SEED)/$(1)/$$$$rate/validation.json) $$$$rate; \
	done | sort -g | sed -n '1s/.* //p' > $$@
endef

lowest = $(firstword $(subst -, ,$(call setting,$(1),ranks)))
highest = $(lastword $(subst -, ,$(call setting,$(1),ranks)))
$(foreach row,$(RUN),$(eval SETTINGS_$(row) := $(call settings-word,$(row)))$(call settings,row-$(row),SETTINGS_$(row)))
$(foreach row,$(RUN),$(if $(filter uniform,$(call setting,$(row),ranks)),\
  $(eval $(call plain,$(row))),\
  $(eval $(call plan_and_init,$(row),$(call setting,$(row),gradient),$(call setting,$(row),metric),$(call lowest,$(row)),$(call \
    highest,$(row)),$(call setting,$(row),gamma),$(call setting,$(row),a)))))
$(foreach row,$(RUN),$(foreach rate,$(sort $(COMMON_RATE) $(call best,$(row)) $(call grid,$(row))),\
  $(eval $(call train,$(row),$(rate),$(call setting,$(row),ratio)))))
$(foreach row,$(RUN),$(eval $(call choose,$(row))))
