# Rows of settings, trained alike and compared: the part that ablation.mk and methods.mk share. Each row stands in the table at the rate
# of its protocol and at its own best rate of one sweep, chosen on rows that are in neither training nor test.
#
# The makefile that includes this says ROOT's common.mk first, and then
#   ALL       all rows
#   DEFAULTS  what holds for each, key=value; ROW_<row> says what is other for one
#   TITLE     what the protocol's rate is called, NOTE what else is to be said below the table
# with these keys:
#   gradient  none, N micro-batches, or the name of a GRADIENT_<name> with gora-grad's options
#   metric    of gora-score
#   ranks     LOWEST-HIGHEST from the scores, eva for its preset, or uniform, or uniform-RANK
#   scaling   of gora-plan
#   method    of gora-init, or full: the weights themselves
#   adapter   of gora-init
#   gamma, a  of gora-init's gora; - for other methods
#   rule      of gora-train; - for its own
#   ratio     rate of B over that of A
#   rate      of A, by the protocol

# What is tuned and on what, in JSON Lines. The last HELD_OUT rows of DATA are not trained on: they choose the rates. TEST is what
# the table tells of.
MODEL ?= $(ROOT)/pipelines/base
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
# More options for gora-train.
TRAIN_FLAGS ?=

# Budget of the ranks, N micro-batches of the gradient, and rows in each.
RANK ?= 8
BUDGET ?= exact
GAMMA ?= 5e-2
STEPS ?= 64
GRAD_BATCH ?= $(BATCH)
# Learning rate of GoRA-pro's steps.
EXPLORE_LR ?= 1e-4

# setting ROW,KEY: what ROW has for KEY. settings-word ROW: all of them, as one word.
setting = $(patsubst $(2)=%,%,$(lastword $(filter $(2)=%,$(DEFAULTS) $(ROW_$(1)))))
KEYS := gradient metric ranks scaling method adapter gamma a rule ratio rate
settings-word = $(subst $(blank),/,$(foreach key,$(KEYS),$(call setting,$(1),$(key))))
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
	@$(MAKE) -f $(SELF) chosen

chosen: $(OUT)/table.txt
	@cat $<

always:

MEASURED := test.json $(if $(filter gsm8k,$(EVAL)),answers.json)
RESULTS := $(foreach row,$(RUN),$(foreach rate,$(sort $(call setting,$(row),rate) $(call best,$(row))),$(foreach seed,$(SEEDS),\
  $(MEASURED:%=$(OUT)/seed-$(seed)/$(row)/$(rate)/%))))

# A line for each row: name, folder, the protocol's rate, its own and where it stands in its grid, gradient.
$(OUT)/table.txt: $(RESULTS) $(OUT)/base.json $(CHOICES) always
	{ $(foreach row,$(ROWS),$(foreach run,$(call first,$(row)),\
	  echo $(row) $(run) $(call setting,$(run),rate) $(call best,$(run)) $(firstword $(call grid,$(run))) $(lastword $(call grid,$(run))) \
	  $(call setting,$(run),gradient);)) } \
	  | $(ROOT)/pipelines/comparison-table $(OUT) "$(SEEDS)" $(TRAIN_STEPS) $(BATCH) "$(TITLE)" "$(NOTE)" > $@

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
	$(LAUNCH) $(BIN)gora-eval --model $(MODEL) --task loss --data $< $(SHARED_THREADS) $(FLAGS) -o $@

# Gradients and scores: one for each seed and setting, whichever rows use them.
GRADIENT_stable := --steps $(STEPS) --until-stable
GRADIENT_adalomo := --steps $(STEPS) --explore adalomo --explore-lr $(EXPLORE_LR)
define gradient
$(SEEDS:%=$(OUT)/seed-%/gradient-$(1).h5): $(OUT)/seed-%/gradient-$(1).h5: $(OUT)/train.jsonl $(MODEL_FILES) $(OUT)/settings/gradient | $(TOOLS)
	$(TIMED) $$@ $(LAUNCH) $(BIN)gora-grad --model $(MODEL) --data $$< --targets $(TARGETS) --batch-size $(GRAD_BATCH) \
	  $(if $(filter undefined,$(origin GRADIENT_$(1))),--steps $(1),$(GRADIENT_$(1))) --seed $$* $(SHARED_THREADS) $(FLAGS) -o $$@
endef
$(foreach name,$(sort $(filter-out none,$(foreach row,$(RUN),$(call setting,$(row),gradient)))),$(eval $(call gradient,$(name))))

scored = $(if $(filter uniform%,$(call setting,$(1),ranks)),,$(1))
define score
$(SEEDS:%=$(OUT)/seed-%/$(1)-of-$(2).json): $(OUT)/seed-%/$(1)-of-$(2).json: $(OUT)/seed-%/gradient-$(2).h5
	$(TIMED) $$@ $(BIN)gora-score --model $(MODEL) $$< --metric $(1) $(FLAGS) -o $$@
endef
$(foreach pair,$(sort $(foreach row,$(RUN),$(if $(call scored,$(row)),$(call setting,$(row),metric)/$(call setting,$(row),gradient)))),\
  $(eval $(call score,$(patsubst %/,%,$(dir $(pair))),$(notdir $(pair)))))

# plan ROW,GRADIENT,METRIC,RANKS,SCALING
lowest = $(firstword $(subst -, ,$(1)))
highest = $(lastword $(subst -, ,$(1)))
define plan
$(SEEDS:%=$(OUT)/seed-%/$(1)/plan.json): $(OUT)/seed-%/$(1)/plan.json: $(OUT)/seed-%/$(3)-of-$(2).json $(OUT)/settings/plan \
  $(OUT)/settings/row-$(1)
	$(TIMED) $$@ $(BIN)gora-plan $$< --rank $(RANK) $(if $(filter eva,$(4)),--preset eva,--min-rank $(call lowest,$(4)) --max-rank $(call \
	  highest,$(4)) --budget $(BUDGET) --scaling $(5)) $(FLAGS) -o $$@
endef

define plan_uniform
$(SEEDS:%=$(OUT)/seed-%/$(1)/plan.json): $(MODEL_FILES) $(OUT)/settings/plan $(OUT)/settings/row-$(1) | $(TOOLS)
	mkdir -p $$(@D)
	$(BIN)gora-plan --uniform --model $(MODEL) --targets $(TARGETS) --rank $(if $(filter uniform,$(4)),$(RANK),$(call highest,$(4))) \
	  --scaling $(5) $(FLAGS) -o $$@
endef

# init ROW,GRADIENT,METHOD,ADAPTER,GAMMA,A
define init
$(SEEDS:%=$(OUT)/seed-%/$(1)/init/adapter_config.json): $(OUT)/seed-%/$(1)/init/adapter_config.json: $(OUT)/seed-%/$(1)/plan.json \
  $(if $(filter none,$(2)),,$(OUT)/seed-%/gradient-$(2).h5) $(if $(filter auto,$(5)),$(OUT)/settings/train)
	$(TIMED) $$@ $(BIN)gora-init $$< --model $(MODEL) --method $(3) --adapter $(4) \
	  $(if $(filter none,$(2)),,--gradients $(OUT)/seed-$$*/gradient-$(2).h5) $(if $(filter -,$(6)),,--a $(6)) \
	  $(if $(filter -,$(5)),,--gamma $(5))$(if $(filter auto,$(5)), --data $(OUT)/train.jsonl --batch-size $(BATCH)) \
	  --seed $$* -t $(THREADS) $(FLAGS) -o $$(@D)
endef

# train ROW,RATE,RATIO,METHOD,RULE. --resume: an interrupted make goes on where it was. run.json is what the stage says of itself at the end.
define train
$(SEEDS:%=$(OUT)/seed-%/$(1)/$(2)/run.json): $(OUT)/seed-%/$(1)/$(2)/run.json: \
  $(if $(filter full,$(4)),$(MODEL_FILES),$(OUT)/seed-%/$(1)/init/adapter_config.json) $(OUT)/train.jsonl $(OUT)/settings/train
	mkdir -p $$(@D)
	$$(call drop-stale,$$(@D)/tuned/checkpoint,$$^)
	$(TIMED) $$(@D)/tuned $(LAUNCH) $(BIN)gora-train $(if $(filter full,$(4)),--method full --targets $(TARGETS),$$(<D) --lr-ratio $(3)) \
	  --model $(MODEL) --data $(OUT)/train.jsonl --batch-size $(BATCH) --max-steps $(TRAIN_STEPS) --lr $(2) \
	  $(if $(filter -,$(5)),,--rule $(5)) $(TRAIN_FLAGS) --log $$(@D)/metrics.jsonl --resume --seed $$* $(SHARED_THREADS) $(FLAGS) --json \
	  -o $$(@D)/tuned > $$@

$(SEEDS:%=$(OUT)/seed-%/$(1)/$(2)/validation.json): $(OUT)/seed-%/$(1)/$(2)/validation.json: \
  $(OUT)/seed-%/$(1)/$(2)/run.json $(OUT)/validation.jsonl
	$(LAUNCH) $(BIN)gora-eval $(call tuned,$(4)) --task loss --data $(OUT)/validation.jsonl $(SHARED_THREADS) $(FLAGS) -o $$@

$(SEEDS:%=$(OUT)/seed-%/$(1)/$(2)/test.json): $(OUT)/seed-%/$(1)/$(2)/test.json: \
  $(OUT)/seed-%/$(1)/$(2)/run.json $(TEST) $(OUT)/settings/eval
	$(LAUNCH) $(BIN)gora-eval $(call tuned,$(4)) --task loss --data $(TEST) $(SHARED_THREADS) $(FLAGS) -o $$@

$(SEEDS:%=$(OUT)/seed-%/$(1)/$(2)/answers.json): $(OUT)/seed-%/$(1)/$(2)/answers.json: \
  $(OUT)/seed-%/$(1)/$(2)/run.json $(TEST) $(OUT)/settings/eval $(OUT)/settings/answers
	$(LAUNCH) $(BIN)gora-eval $(call tuned,$(4)) --task gsm8k --data $(TEST) --max-new-tokens $(MAX_NEW) $(SHARED_THREADS) $(FLAGS) -o $$@
endef
tuned = $(if $(filter full,$(1)),--model $$(<D)/tuned,--model $(MODEL) --adapter $$(<D)/tuned)

# The rate with the least validation loss.
define choose
$(OUT)/rates/$(1): $(foreach rate,$(call grid,$(1)),$(OUT)/seed-$(FIRST_SEED)/$(1)/$(rate)/validation.json) always
	mkdir -p $$(@D)
	for rate in $(call grid,$(1)); do \
	  echo $$$$(sed -n '/"loss": /{s/.*"loss": *\([-+.e0-9]*\).*/\1/p;q}' $(OUT)/seed-$(FIRST_SEED)/$(1)/$$$$rate/validation.json) $$$$rate; \
	done | sort -g | sed -n '1s/.* //p' > $$@
endef

$(foreach row,$(RUN),$(eval SETTINGS_$(row) := $(call settings-word,$(row)))$(call settings,row-$(row),SETTINGS_$(row)))
row-rules = $(eval $(call $(if $(call scored,$(1)),plan,plan_uniform),$(1),$(call setting,$(1),gradient),$(call setting,$(1),metric),$(call \
  setting,$(1),ranks),$(call setting,$(1),scaling)))$(eval $(call init,$(1),$(call setting,$(1),gradient),$(call setting,$(1),method),$(call \
  setting,$(1),adapter),$(call setting,$(1),gamma),$(call setting,$(1),a)))
$(foreach row,$(RUN),$(if $(filter full,$(call setting,$(row),method)),,$(call row-rules,$(row))))
$(foreach row,$(RUN),$(foreach rate,$(sort $(call setting,$(row),rate) $(call best,$(row)) $(call grid,$(row))),\
  $(eval $(call train,$(row),$(rate),$(call setting,$(row),ratio),$(call setting,$(row),method),$(call setting,$(row),rule)))))
$(foreach row,$(RUN),$(eval $(call choose,$(row))))
