# The recipe of pipelines/base: the small model that math.mk tunes by default, trained here from nothing.
#
#   make -f pipelines/base.mk                 about 25 minutes on two cores
#   make -f pipelines/base.mk install         puts the result into pipelines/base
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
.DEFAULT_GOAL := base

OUT ?= results/base
# First arithmetic: equations, comparisons, and stories of one step, half of them as problems; 32 a step.
ROWS ?= 160000
TRAIN_STEPS ?= 3200
# Then problems of several steps, of a third of the forms that the task has, beside more arithmetic.
FORMS ?= 8
PROBLEMS ?= 24000
KEPT ?= 8000

$(call paths,OUT)
$(call settings,arithmetic,ROWS)
$(call settings,problems,FORMS PROBLEMS)
$(call settings,kept,KEPT)
$(call settings,train,TRAIN_STEPS)

.PHONY: base install
base: $(OUT)/model/model.safetensors

$(OUT)/tokenizer/tokenizer.json: | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --tokenizer --vocab 512 --seed 0 -o $@

$(OUT)/arithmetic.jsonl: $(OUT)/settings/arithmetic | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --kind arithmetic --split train --count $(ROWS) --seed 0 -o $@

$(OUT)/problems.jsonl: $(OUT)/settings/problems | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --kind problems --split train --forms $(FORMS) --count $(PROBLEMS) --seed 1 -o $@

$(OUT)/kept.jsonl: $(OUT)/settings/kept | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --kind arithmetic --split train --count $(KEPT) --seed 1 -o $@

$(OUT)/arithmetic/model.safetensors: $(ROOT)/pipelines/base/config.json $(OUT)/tokenizer/tokenizer.json $(OUT)/arithmetic.jsonl \
  $(OUT)/settings/train
	$(call drop-stale,$(@D)/checkpoint,$^)
	$(TIMED) $@ $(LAUNCH) $(BIN)gora-train --method full --from-config $< --model $(OUT)/tokenizer --data $(OUT)/arithmetic.jsonl \
	  --batch-size 32 --max-steps $(TRAIN_STEPS) --lr 3e-3 --weight-decay 0.1 --max-grad-norm 1 \
	  --log $(OUT)/arithmetic.metrics.jsonl --resume $(SHARED_THREADS) $(FLAGS) -o $(@D)

$(OUT)/model/model.safetensors: $(OUT)/arithmetic/model.safetensors $(OUT)/problems.jsonl $(OUT)/kept.jsonl
	$(call drop-stale,$(@D)/checkpoint,$^)
	$(TIMED) $@ $(LAUNCH) $(BIN)gora-train --method full --targets all-linear --model $(<D) --data $(OUT)/problems.jsonl \
	  --data $(OUT)/kept.jsonl --batch-size 32 --lr 1e-3 --weight-decay 0.1 --max-grad-norm 1 \
	  --log $(OUT)/metrics.jsonl --resume --no-provenance $(SHARED_THREADS) $(FLAGS) -o $(@D)

install: base
	cp $(OUT)/model/model.safetensors $(OUT)/model/tokenizer.json $(ROOT)/pipelines/base/
