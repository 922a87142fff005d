# Rows of settings, trained alike and compared: the part that ablation.mk, methods.mk and sweep.mk share. The rate of each row is chosen
# on rows of data that are in neither training nor test, by the mean loss over CHOOSING_SEEDS; the test is of the chosen one, and of the
# rate of the row's protocol.
#
# The makefile that includes this says ROOT's common.mk first, and then
#   ALL       all rows
#   DEFAULTS  what holds for each, key=value; ROW_<row> says what is other for one
#   TITLE     what the protocol's rate is called, NOTE what else is to be said below the table; without TITLE it makes OUT/table.txt itself
# with these keys:
#   gradient  none, N micro-batches, or the name of a GRADIENT_<name> with gora-grad's options
#   metric    of gora-score
#   ranks     LOWEST-HIGHEST from the scores, or range for gora-plan's own, eva for its preset, or uniform, or uniform-RANK
#   rank      the mean one, RANK where it is not said
#   scaling   of gora-plan
#   method    of gora-init, or full: the weights themselves
#   adapter   of gora-init
#   gamma, a  of gora-init's gora; - for other methods
#   rule      of gora-train; - for its own
#   ratio     rate of B over that of A
#   rate      of A, by the protocol; - for none
#   batch     rows a step, BATCH where it is not said, and steps: TRAIN_STEPS

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

# Training: rows a step, steps, the seeds, and those of them that choose the rates.
BATCH ?= 8
TRAIN_STEPS ?= 60
SEEDS ?= 0 1 2
CHOOSING_SEEDS ?= $(firstword $(SEEDS))
# Ratios that are tried with each rate, where not the row's own alone.
RATIOS ?=
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

# setting ROW,KEY: what ROW has for KEY. settings-word ROW,KEYS: what it has for KEYS, as one word.
COMMON = rank=$(RANK) batch=$(BATCH) steps=$(TRAIN_STEPS)
setting = $(patsubst $(2)=%,%,$(lastword $(filter $(2)=%,$(COMMON) $(DEFAULTS) $(ROW_$(1)))))
START_KEYS := gradient metric ranks rank scaling method adapter gamma a
TRAIN_KEYS := rule ratio batch steps
settings-word = $(subst $(blank),/,$(foreach key,$(2),$(call setting,$(1),$(key))))
all-settings = $(call settings-word,$(1),$(START_KEYS) $(TRAIN_KEYS) rate)
# first ROW: the first row with the settings of ROW. Its files are those of ROW, so that no run is made twice.
first = $(firstword $(foreach row,$(ALL),$(if $(filter $(call all-settings,$(row)),$(call all-settings,$(1))),$(row))))

# By default every row that differs from those before it.
ROWS ?= $(foreach each,$(ALL),$(if $(filter $(each),$(call first,$(each))),$(each)))
UNKNOWN := $(filter-out $(ALL),$(ROWS))
$(if $(UNKNOWN),$(error no such row: $(UNKNOWN); there are: $(ALL)))
RUN := $(sort $(foreach each,$(ROWS),$(call first,$(each))))

$(call paths,MODEL OUT DATA TEST)
$(if $(and $(ROWS),$(SEEDS),$(CHOOSING_SEEDS),$(RATES),$(RATES_EQUAL)),,$(error ROWS, SEEDS, RATES and RATES_EQUAL must name one or more))

MODEL_FILES := $(call model-files,$(MODEL))
$(call settings,split,DATA HELD_OUT)
$(call settings,gradient,MODEL TARGETS STEPS GRAD_BATCH EXPLORE_LR)
$(call settings,explored,HEAD_STEPS HEAD_WARMUP HEAD_LR)
$(call settings,plan,MODEL TARGETS BUDGET)
$(call settings,train,TRAIN_FLAGS)
$(call settings,eval,MODEL TEST)
$(call settings,answers,MAX_NEW)

# A point is lr-RATE or ratio-RATIO/lr-RATE. grid ROW: those that are tried; best ROW: the chosen one, once it is; protocol ROW: its own.
# A ratio says nothing where not both A and B are trained.
grid = $(if $(and $(RATIOS),$(filter-out full,$(call setting,$(1),method)),$(filter-out lora-fa,$(call setting,$(1),rule))),$(foreach \
  ratio,$(RATIOS),$(RATES:%=ratio-$(ratio)/lr-%)),$(addprefix lr-,$(call rates,$(1))))
# RATES_row, where a row has rates of its own.
rates = $(if $(filter undefined,$(origin RATES_$(1))),$(if $(filter 1,$(call setting,$(1),ratio)),$(RATES_EQUAL),$(RATES)),$(RATES_$(1)))
best = $(if $(wildcard $(OUT)/rates/$(1)),$(file < $(OUT)/rates/$(1)),BEST)
protocol = $(addprefix lr-,$(filter-out -,$(call setting,$(1),rate)))
rate-of = $(patsubst lr-%,%,$(notdir $(1)))
# ratio-of POINT,ROW
ratio-of = $(or $(patsubst ratio-%/,%,$(filter ratio-%,$(dir $(1)))),$(call setting,$(2),ratio))

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
RESULTS := $(foreach row,$(RUN),$(foreach point,$(sort $(call protocol,$(row)) $(call best,$(row))),$(foreach seed,$(SEEDS),\
  $(MEASURED:%=$(OUT)/seed-$(seed)/$(row)/$(point)/%))))

# A line for each row: name, folder, the protocol's point, its own and where it stands in its grid, gradient.
ifneq ($(TITLE),)
$(OUT)/table.txt: $(RESULTS) $(OUT)/base.json $(CHOICES) always
	{ $(foreach row,$(ROWS),$(foreach run,$(call first,$(row)),\
	  echo $(row) $(run) $(call protocol,$(run)) $(call best,$(run)) $(firstword $(call grid,$(run))) $(lastword $(call grid,$(run))) \
	  $(call setting,$(run),gradient);)) } \
	  | $(ROOT)/pipelines/comparison-table $(OUT) "$(SEEDS)" $(TRAIN_STEPS) $(BATCH) "$(TITLE)" "$(NOTE)" > $@
endif

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
GRADIENT_explored = $(WALK)
define gradient
$(SEEDS:%=$(OUT)/seed-%/gradient-$(1).h5): $(OUT)/seed-%/gradient-$(1).h5: $(OUT)/train.jsonl $(MODEL_FILES) $(OUT)/settings/gradient \
  $(if $(filter explored,$(1)),$(OUT)/settings/explored) | $(TOOLS)
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

# plan ROW,GRADIENT,METRIC,RANKS,SCALING,RANK
lowest = $(firstword $(subst -, ,$(1)))
highest = $(lastword $(subst -, ,$(1)))
define plan
$(SEEDS:%=$(OUT)/seed-%/$(1)/plan.json): $(OUT)/seed-%/$(1)/plan.json: $(OUT)/seed-%/$(3)-of-$(2).json $(OUT)/settings/plan \
  $(OUT)/settings/start-$(1)
	$(TIMED) $$@ $(BIN)gora-plan $$< --rank $(6) $(if $(filter eva,$(4)),--preset eva,$(if $(filter range,$(4)),,--min-rank $(call \
	  lowest,$(4)) --max-rank $(call highest,$(4))) --budget $(BUDGET) --scaling $(5)) $(FLAGS) -o $$@
endef

define plan_uniform
$(SEEDS:%=$(OUT)/seed-%/$(1)/plan.json): $(MODEL_FILES) $(OUT)/settings/plan $(OUT)/settings/start-$(1) | $(TOOLS)
	mkdir -p $$(@D)
	$(BIN)gora-plan --uniform --model $(MODEL) --targets $(TARGETS) --rank $(if $(filter uniform,$(4)),$(6),$(call highest,$(4))) \
	  --scaling $(5) $(FLAGS) -o $$@
endef

# init ROW,GRADIENT,METHOD,ADAPTER,GAMMA,A,BATCH
define init
$(SEEDS:%=$(OUT)/seed-%/$(1)/init/adapter_config.json): $(OUT)/seed-%/$(1)/init/adapter_config.json: $(OUT)/seed-%/$(1)/plan.json \
  $(if $(filter none,$(2)),,$(OUT)/seed-%/gradient-$(2).h5) $(if $(filter auto,$(5)),$(OUT)/settings/train-$(1))
	$(TIMED) $$@ $(BIN)gora-init $$< --model $(MODEL) --method $(3) --adapter $(4) \
	  $(if $(filter none,$(2)),,--gradients $(OUT)/seed-$$*/gradient-$(2).h5) $(if $(filter -,$(6)),,--a $(6)) \
	  $(if $(filter -,$(5)),,--gamma $(5))$(if $(filter auto,$(5)), --data $(OUT)/train.jsonl --batch-size $(7)) \
	  --seed $$* -t $(THREADS) $(FLAGS) -o $$(@D)
endef

# train ROW,POINT,RATE,RATIO,METHOD,RULE,BATCH,STEPS. --resume: an interrupted make goes on where it was. run.json is what the stage says of
# itself at the end, or that the loss was not finite (status 1); then there is nothing to measure, and the others go on.
NOT_FINITE := {"format": "gora-result", "format_version": 1, "task": "loss", "rows": 0, "finite": false}
# measured COMMAND: runs it where run.json, the first prerequisite, is of a run that came to its end.
measured = if grep -q '"finite": false' $$<; then cp $$< $$@; else $(1); fi
define train
$(SEEDS:%=$(OUT)/seed-%/$(1)/$(2)/run.json): $(OUT)/seed-%/$(1)/$(2)/run.json: \
  $(if $(filter full,$(5)),$(MODEL_FILES),$(OUT)/seed-%/$(1)/init/adapter_config.json) $(OUT)/train.jsonl $(OUT)/settings/train \
  $(OUT)/settings/train-$(1)
	mkdir -p $$(@D)
	$$(call drop-stale,$$(@D)/tuned/checkpoint,$$^)
	status=0; $(TIMED) $$(@D)/tuned $(LAUNCH) $(BIN)gora-train $(if $(filter full,$(5)),--method full --targets $(TARGETS),$$(<D) \
	  --lr-ratio $(4)) --model $(MODEL) --data $(OUT)/train.jsonl --batch-size $(7) --max-steps $(8) --lr $(3) \
	  $(if $(filter -,$(6)),,--rule $(6)) $(TRAIN_FLAGS) --log $$(@D)/metrics.jsonl --resume --seed $$* $(SHARED_THREADS) $(FLAGS) --json \
	  -o $$(@D)/tuned > $$@ || status=$$$$?; \
	case $$$$status in 0) ;; 1) echo '$(NOT_FINITE)' > $$@;; *) exit $$$$status;; esac

$(SEEDS:%=$(OUT)/seed-%/$(1)/$(2)/validation.json): $(OUT)/seed-%/$(1)/$(2)/validation.json: \
  $(OUT)/seed-%/$(1)/$(2)/run.json $(OUT)/validation.jsonl
	$(call measured,$(LAUNCH) $(BIN)gora-eval $(call tuned,$(5)) --task loss --data $(OUT)/validation.jsonl $(SHARED_THREADS) $(FLAGS) -o $$@)

$(SEEDS:%=$(OUT)/seed-%/$(1)/$(2)/test.json): $(OUT)/seed-%/$(1)/$(2)/test.json: \
  $(OUT)/seed-%/$(1)/$(2)/run.json $(TEST) $(OUT)/settings/eval
	$(call measured,$(LAUNCH) $(BIN)gora-eval $(call tuned,$(5)) --task loss --data $(TEST) $(SHARED_THREADS) $(FLAGS) -o $$@)

$(SEEDS:%=$(OUT)/seed-%/$(1)/$(2)/answers.json): $(OUT)/seed-%/$(1)/$(2)/answers.json: \
  $(OUT)/seed-%/$(1)/$(2)/run.json $(TEST) $(OUT)/settings/eval $(OUT)/settings/answers
	$(call measured,$(LAUNCH) $(BIN)gora-eval $(call tuned,$(5)) --task gsm8k --data $(TEST) --max-new-tokens $(MAX_NEW) $(SHARED_THREADS) $(FLAGS) -o $$@)
endef
tuned = $(if $(filter full,$(1)),--model $$(<D)/tuned,--model $(MODEL) --adapter $$(<D)/tuned)

define choose
$(OUT)/rates/$(1): $(foreach seed,$(CHOOSING_SEEDS),$(foreach point,$(call grid,$(1)),$(OUT)/seed-$(seed)/$(1)/$(point)/validation.json)) always
	mkdir -p $$(@D)
	$(ROOT)/pipelines/best-point $(OUT) $(1) "$(CHOOSING_SEEDS)" $(call grid,$(1)) > $$@
endef

$(foreach row,$(RUN),$(eval START_$(row) := $(call settings-word,$(row),$(START_KEYS)))$(call settings,start-$(row),START_$(row)))
$(foreach row,$(RUN),$(eval TRAIN_$(row) := $(call settings-word,$(row),$(TRAIN_KEYS)))$(call settings,train-$(row),TRAIN_$(row)))
row-rules = $(eval $(call $(if $(call scored,$(1)),plan,plan_uniform),$(1),$(call setting,$(1),gradient),$(call setting,$(1),metric),$(call \
  setting,$(1),ranks),$(call setting,$(1),scaling),$(call setting,$(1),rank)))$(eval $(call init,$(1),$(call setting,$(1),gradient),$(call \
  setting,$(1),method),$(call setting,$(1),adapter),$(call setting,$(1),gamma),$(call setting,$(1),a),$(call setting,$(1),batch)))
$(foreach row,$(RUN),$(if $(filter full,$(call setting,$(row),method)),,$(call row-rules,$(row))))
$(foreach row,$(RUN),$(foreach point,$(sort $(call protocol,$(row)) $(call best,$(row)) $(call grid,$(row))),\
  $(eval $(call train,$(row),$(point),$(call rate-of,$(point)),$(call ratio-of,$(point),$(row)),$(call setting,$(row),method),$(call \
  setting,$(row),rule),$(call setting,$(row),batch),$(call setting,$(row),steps)))))
$(foreach row,$(RUN),$(eval $(call choose,$(row))))
