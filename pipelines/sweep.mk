# The sweep behind math.mk's rates: each method at the same grid, judged on problems that are in neither its training nor its test.
#
#   make -f pipelines/sweep.mk                prints accuracy and last loss by method and rate
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
.DEFAULT_GOAL := table

OUT ?= results/sweep
METHODS ?= lora gora
RATES ?= 1e-4 3e-4 1e-3 3e-3 1e-2 3e-2
SEEDS ?= 10
# Rows that choose the rate: another part of the training split.
HELD_OUT ?= 400

$(call paths,OUT)
$(call settings,split,HELD_OUT)

.PHONY: table always
RUNS := $(foreach method,$(METHODS),$(foreach rate,$(RATES),$(OUT)/$(method)-$(rate)/table.txt))
table: $(RUNS)
	@for method in $(METHODS); do for rate in $(RATES); do \
	  printf '%-6s ' "$$rate"; sed -n "/^$$method /p" $(OUT)/$$method-$$rate/table.txt; done; done

$(OUT)/all.jsonl: $(OUT)/settings/split | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --kind problems --split train --count $$((4000 + $(HELD_OUT))) --seed 0 -o $@

$(OUT)/validation.jsonl: $(OUT)/all.jsonl
	tail -n $(HELD_OUT) $< > $@

$(OUT)/train.jsonl: $(OUT)/all.jsonl
	head -n 4000 $< > $@

# always: what a run depends on is math.mk's to say; one that has all it needs takes a moment.
always:

define run
$(OUT)/$(1)-$(2)/table.txt: $(OUT)/train.jsonl $(OUT)/validation.jsonl always
	$$(MAKE) -f $(ROOT)/pipelines/math.mk OUT=$$(@D) TRAIN=$(OUT)/train.jsonl TEST=$(OUT)/validation.jsonl \
	  METHODS=$(1) SEEDS="$(SEEDS)" LR_$(1)=$(2) FLAGS="$(FLAGS)" > /dev/null
endef
$(foreach method,$(METHODS),$(foreach rate,$(RATES),$(eval $(call run,$(method),$(rate)))))
