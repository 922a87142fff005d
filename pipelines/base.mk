# The recipe of pipelines/base: the small model that math.mk tunes by default, trained here from nothing.
#
#   make -f pipelines/base.mk                 about half an hour on two cores
#   make -f pipelines/base.mk install         puts the result into pipelines/base
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
.DEFAULT_GOAL := base

OUT ?= results/base
# Texts of arithmetic, half of them problems of one step; 32 a step.
ROWS ?= 160000
TRAIN_STEPS ?= 3200

.PHONY: base install
base: $(OUT)/model/model.safetensors

$(OUT)/tokenizer/tokenizer.json: | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --tokenizer --vocab 512 --seed 0 -o $@

$(OUT)/arithmetic.jsonl: | $(TOOLS)
	mkdir -p $(@D)
	$(BIN)gora-problems --kind arithmetic --split train --count $(ROWS) --seed 0 -o $@

$(OUT)/model/model.safetensors: $(ROOT)/pipelines/base/config.json $(OUT)/tokenizer/tokenizer.json $(OUT)/arithmetic.jsonl
	$(TIMED) $@ $(BIN)gora-train --method full --from-config $< --model $(OUT)/tokenizer --data $(OUT)/arithmetic.jsonl \
	  --batch-size 32 --max-steps $(TRAIN_STEPS) --lr 3e-3 --weight-decay 0.1 --max-grad-norm 1 \
	  --log $(OUT)/metrics.jsonl --resume -t $(THREADS) $(FLAGS) --no-provenance -o $(@D)

install: base
	cp $(OUT)/model/model.safetensors $(OUT)/model/tokenizer.json $(ROOT)/pipelines/base/
