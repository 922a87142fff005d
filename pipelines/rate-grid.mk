# --lr auto beside a full grid of rates: the held-out loss at the rate that it finds, and at the best one of the grid.
#
#   make -f pipelines/rate-grid.mk            the embedded base, generated problems, 90 short runs
#   make -f pipelines/rate-grid.mk ROWS='lora full' BATCH=16 TRAIN_STEPS=120 FIRST_full=1e-4 COUNT=6       a part of it, other runs
#   make -f pipelines/rate-grid.mk ROWS=gora AUTO='--lr-ratio auto'               with options for the run that finds its rate alone
#   make -f pipelines/rate-grid.mk MODEL=/models/stories260K DATA=train.jsonl TEST=test.jsonl OUT=results/rate-grid-stories
#
# The grid has the factor 1.5 and is judged on TEST itself, so that what it loses to the grid is no less than it would be by a fair
# choice. Rows of DATA alone are what --lr auto sees. Results: table.txt in OUT. An interrupted make goes on where it was.
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
.DEFAULT_GOAL := table
OUT ?= results/rate-grid

MODEL ?= $(ROOT)/pipelines/base
DATA ?= $(OUT)/data.jsonl
TEST ?= $(OUT)/test.jsonl
TARGETS ?= all-linear
MAX_LENGTH ?= 128

BATCH ?= 8
TRAIN_STEPS ?= 200
AUTO ?=
SEED ?= 0
RANK ?= 8

# The rows: how an adapter is made, how it is trained, and the first rate of the grid, which has COUNT.
COUNT ?= 9
INIT_lora := --method lora
TRAIN_lora := --lr-ratio 1
FIRST_lora := 1.3e-3
INIT_lora-plus := --method lora
TRAIN_lora-plus := --lr-ratio 16
FIRST_lora-plus := 5.27e-5
INIT_dora := --method lora --adapter dora
TRAIN_dora := --lr-ratio 16
FIRST_dora := 5.27e-5
INIT_gora := --method gora --gamma 5e-2
TRAIN_gora := --lr-ratio 16
FIRST_gora := 5.27e-5
INIT_gora-equal := --method gora --gamma 5e-2
TRAIN_gora-equal := --lr-ratio 1
FIRST_gora-equal := 7.9e-4
INIT_lora-pro := --method lora
TRAIN_lora-pro := --rule lora-pro
FIRST_lora-pro := 1.3e-3
INIT_lora-fa := --method lora
TRAIN_lora-fa := --rule lora-fa --lr-ratio 1
FIRST_lora-fa := 3e-3
INIT_adalora := --method adalora --adapter adalora
TRAIN_adalora :=
FIRST_adalora := 8.9e-3
TRAIN_full := --method full --targets $(TARGETS)
FIRST_full := 2e-4
ALL := lora lora-plus dora gora gora-equal lora-pro lora-fa adalora full
ROWS ?= $(ALL)
UNKNOWN := $(filter-out $(ALL),$(ROWS))
$(if $(UNKNOWN),$(error no such row: $(UNKNOWN); there are: $(ALL)))

$(call paths,MODEL OUT DATA TEST)
MODEL_FILES := $(call model-files,$(MODEL))
$(call settings,plan,MODEL TARGETS RANK)
$(call settings,gradient,MODEL TARGETS MAX_LENGTH SEED)
$(call settings,train,BATCH TRAIN_STEPS MAX_LENGTH SEED)
$(call settings,auto,AUTO)
$(call settings,eval,MODEL TEST MAX_LENGTH)

.PHONY: table always
table: $(OUT)/table.txt
	@cat $<

always:

$(OUT)/data.jsonl: | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --kind problems --split train --count 3000 --seed 0 -o $@

$(OUT)/test.jsonl: | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --kind problems --split test --count 120 --seed 0 -o $@

$(OUT)/grad.h5: $(DATA) $(MODEL_FILES) $(OUT)/settings/gradient | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-grad --model $(MODEL) --data $< --targets $(TARGETS) --batch-size 8 --steps 16 --max-length $(MAX_LENGTH) --seed $(SEED) \
	  -t $(THREADS) $(FLAGS) -o $@

$(OUT)/plan.json: $(MODEL_FILES) $(OUT)/settings/plan | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-plan --uniform --model $(MODEL) --targets $(TARGETS) --rank $(RANK) --scaling rslora $(FLAGS) -o $@

# Starts.
$(foreach row,$(ALL),$(eval ROW_$(row) = $(INIT_$(row)) / $(TRAIN_$(row)))$(call settings,row-$(row),ROW_$(row)))
define start
$(OUT)/$(1)/init/adapter_config.json: $(OUT)/plan.json $(OUT)/settings/row-$(1) $(if $(findstring gora,$(1)),$(OUT)/grad.h5)
	$(BIN)gora-init $$< --model $(MODEL) $(INIT_$(1)) $(if $(findstring gora,$(1)),--gradients $(OUT)/grad.h5) --seed $(SEED) \
	  -t $(THREADS) $(FLAGS) -o $$(@D)
endef

# run ROW,RATE: what gora-train says of itself, and the loss.
define run
$(OUT)/$(1)/$(2)/run.json: $(if $(INIT_$(1)),$(OUT)/$(1)/init/adapter_config.json,$(MODEL_FILES)) $(DATA) $(OUT)/settings/train \
  $(OUT)/settings/row-$(1) $(if $(filter auto,$(2)),$(OUT)/settings/auto) | $(TOOLS)
	mkdir -p $$(@D)
	$$(call drop-stale,$$(@D)/tuned/checkpoint,$$^)
	$(TIMED) $$(@D)/tuned $(LAUNCH) $(BIN)gora-train $(if $(INIT_$(1)),$(OUT)/$(1)/init) $(TRAIN_$(1)) --model $(MODEL) --data $(DATA) \
	  --max-length $(MAX_LENGTH) --batch-size $(BATCH) --max-steps $(TRAIN_STEPS) --lr $(2) $(if $(filter auto,$(2)),$(AUTO)) \
	  --seed $(SEED) --resume --json --log $$(@D)/metrics.jsonl $(SHARED_THREADS) $(FLAGS) -o $$(@D)/tuned > $$@ \
	  || { [ $$$$? = 1 ] && echo '{"diverged": true}' > $$@; }

$(OUT)/$(1)/$(2)/loss.json: $(OUT)/$(1)/$(2)/run.json $(TEST) $(OUT)/settings/eval
	if grep -q diverged $$<; then echo '{"loss": 1e99}' > $$@; else \
	$(LAUNCH) $(BIN)gora-eval --model $(if $(INIT_$(1)),$(MODEL) --adapter $$(@D)/tuned,$$(@D)/tuned) --task loss --data $(TEST) \
	  --max-length $(MAX_LENGTH) $(SHARED_THREADS) $(FLAGS) -o $$@; fi
endef

grid = $(shell awk 'BEGIN { for (k = 0; k < $(COUNT); k++) printf "%.3g ", $(FIRST_$(1)) * 1.5 ^ k }')
$(foreach row,$(ROWS),$(eval GRID_$(row) := $(call grid,$(row)))$(if $(INIT_$(row)),$(eval $(call start,$(row))))\
  $(foreach rate,$(GRID_$(row)) auto,$(eval $(call run,$(row),$(rate)))))

number = $$(sed -n 's/.*"$(2)": *\([-+.e0-9]*\).*/\1/p' $(1) | head -n 1)
$(OUT)/table.txt: $(foreach row,$(ROWS),$(foreach rate,$(GRID_$(row)) auto,$(OUT)/$(row)/$(rate)/loss.json)) always
	{ $(foreach row,$(ROWS),$(foreach rate,$(GRID_$(row)) auto,echo $(row) $(rate) $(call number,$(OUT)/$(row)/$(rate)/loss.json,loss) \
	  $(call number,$(OUT)/$(row)/$(rate)/run.json,lr) $(call number,$(OUT)/$(row)/$(rate)/run.json,search_steps);)) } \
	  | awk -v steps=$(TRAIN_STEPS) -v batch=$(BATCH) ' \
	    BEGIN { printf "%-12s%12s%10s%12s%10s%10s%10s\n", "", "best rate", "loss", "auto rate", "loss", "more, %", "cost, %" } \
	    $$2 != "auto" { if (!($$1 in loss) || $$3 < loss[$$1]) { loss[$$1] = $$3; rate[$$1] = $$2; last[$$1] = n[$$1] } n[$$1]++ } \
	    $$2 == "auto" { edge = last[$$1] == 0 ? "< " : last[$$1] == n[$$1] - 1 ? "> " : ""; \
	      printf "%-12s%12s%10.4f%12s%10.4f%10.2f%10.1f\n", $$1, edge rate[$$1], loss[$$1], $$4, $$3, \
	        100 * ($$3 / loss[$$1] - 1), 100 * $$5 / steps } \
	    END { printf "%d steps of %d rows; < or >: the best rate is at the end of its grid.\n", steps, batch }' > $@
