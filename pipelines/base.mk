# The recipe of pipelines/base: the small model that math.mk tunes by default, trained here from nothing.
#
#   make -f pipelines/base.mk THREADS=1       some minutes of one core
#   make -f pipelines/base.mk install         puts the result into pipelines/base
#
# What it is taught: words and numbers, stories of one step, equations, how GSM8K's answers are written, chains of changes to one
# amount (gora-problems --kind chains; no sentence of a question is one of the task's), and the first 5 of the task's 22 forms.
# The other 17 forms are left to tuning. All of it is of the train split; no choice here was made by a held-out problem.
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
.DEFAULT_GOAL := base

OUT ?= results/base
FORMS ?= 5

$(call paths,OUT)
$(call settings,problems,FORMS)

# $(call rows,FILE,OPTIONS): the rule of a file of rows.
rows = $(eval $(call rows_rule,$(OUT)/$(strip $(1)).jsonl,$(2)))
define rows_rule
$(1): $(OUT)/settings/problems | $(TOOLS)
	mkdir -p $$(@D)
	$(BIN)gora-problems --split train $(2) -o $$@
endef

.PHONY: base install
base: $(OUT)/model/model.safetensors

$(OUT)/tokenizer/tokenizer.json: | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --tokenizer --vocab 640 --seed 0 -o $@

# First all of it but equations, then equations beside the rest, for sums that carry and differences that borrow.
$(call rows,first/arithmetic,--kind arithmetic --count 12000 --seed 0)
$(call rows,first/chains,--kind chains --count 14000 --seed 0)
$(call rows,first/problems,--kind problems --forms $(FORMS) --count 6000 --seed 1)
$(call rows,then/equations,--kind equations --count 14000 --seed 0)
$(call rows,then/chains,--kind chains --count 4500 --seed 2)
$(call rows,then/arithmetic,--kind arithmetic --count 1000 --seed 2)
$(call rows,then/problems,--kind problems --forms $(FORMS) --count 3000 --seed 2)
FIRST := $(addprefix $(OUT)/first/,arithmetic.jsonl chains.jsonl problems.jsonl)
THEN := $(addprefix $(OUT)/then/,equations.jsonl chains.jsonl arithmetic.jsonl problems.jsonl)

TRAIN = $(LAUNCH) $(BIN)gora-train --method full --batch-size 16 --weight-decay 0.1 --max-grad-norm 1 --resume $(SHARED_THREADS) $(FLAGS)

$(OUT)/first/model/model.safetensors: $(ROOT)/pipelines/base/config.json $(OUT)/tokenizer/tokenizer.json $(FIRST)
	$(call drop-stale,$(@D)/checkpoint,$^)
	$(TIMED) $@ $(TRAIN) --from-config $< --model $(OUT)/tokenizer $(FIRST:%=--data %) --lr 3e-3 \
	  --log $(OUT)/first/metrics.jsonl -o $(@D)

$(OUT)/model/model.safetensors: $(OUT)/first/model/model.safetensors $(THEN)
	$(call drop-stale,$(@D)/checkpoint,$^)
	$(TIMED) $@ $(TRAIN) --targets all-linear --model $(<D) $(THEN:%=--data %) --lr 2e-3 \
	  --log $(OUT)/then/metrics.jsonl --no-provenance -o $(@D)

install: base
	cp $(OUT)/model/model.safetensors $(OUT)/model/tokenizer.json $(ROOT)/pipelines/base/
