# GoRA beside LoRA on images: CLIP's vision tower tuned to tell the classes of a folder apart, against the texts of the classes.
#
#   make -f pipelines/vision.mk MODEL=/models/clip-vit-base-patch16 TRAIN=dtd/train TEST=dtd/test SET=dtd
#   make -f pipelines/vision.mk MODEL=... TRAIN=... TEST=... TEMPLATES=texts.txt CLASSES=names.txt     a set of your own
#   make -f pipelines/vision.mk MODEL=... TRAIN=... TEST=... METHODS='lora rslora gora full' SEEDS='42 0 18'
#   make -f pipelines/vision.mk NEW=config.json TOKENIZER=clip/ TRAIN=... TEST=...     a new small model, its vision tower trained first
#   make -n -f pipelines/vision.mk ...        what is run
#
# The protocol is that of the scripts of GoRA's authors (hhnqqq/MyTransformers, scripts/cv/lora.sh, June 2025): rank 8 on all linears of the vision
# tower, rate 1e-4 for A and B, weight decay 0.01, cosine with 3 % of warm-up, batches of 64, max(1000 // batches of a pass, 1) passes, the
# last step evaluated. Their one text a class, without a full stop, is the default; SET names one of the known sets with its classes and texts.
#
# Results: table.txt, report.html and seed-N/METHOD/result.json, in OUT. An interrupted make goes on where it was.
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
.DEFAULT_GOAL := table

OUT ?= results/vision$(SET:%=-%)
# A checkpoint's folder; or a config.json for a new model, and a folder with a tokenizer.json for it.
NEW ?=
TOKENIZER ?=
MODEL ?= $(if $(NEW),$(OUT)/base)
# Folders with a folder of images for each class, or JSON Lines.
TRAIN ?=
TEST ?=
# Names of a known set or files: the classes and the texts about them.
SET ?=
CLASSES ?= $(SET)
TEMPLATES ?= $(if $(SET),$(SET),$(OUT)/text.txt)

METHODS ?= lora gora
SEEDS ?= 42
TARGETS ?= all-linear
RANK ?= 8
BATCH ?= 64
LR ?= 1e-4
LR_lora ?= $(LR)
LR_rslora ?= $(LR)
LR_gora ?= $(LR)
LR_full ?= 1e-5
WEIGHT_DECAY ?= 0.01
# Passes: about 1000 steps.
IMAGES = $(shell if [ -d '$(TRAIN)' ]; then find -L '$(TRAIN)' -mindepth 2 -maxdepth 2 -type f -not -name '.*' | wc -l; \
  else grep -c . '$(TRAIN)'; fi)
EPOCHS ?= $(if $(TRAIN),$(shell n=$$(( 1000 / (($(IMAGES) + $(BATCH) - 1) / $(BATCH)) )); echo $$(( n > 1 ? n : 1 ))))
# GoRA's start: micro-batches of the gradient and images in each, the first step, the budget.
STEPS ?= 64
GRAD_BATCH ?= 8
GAMMA ?= 0.05
BUDGET ?= exact
SCALING_lora := lora
SCALING_rslora := rslora
# Of a new model's training.
NEW_STEPS ?= 300
NEW_LR ?= 1e-3

TRAIN_FLAGS ?=
EVAL_FLAGS ?=

$(call paths,OUT $(foreach name,TRAIN TEST MODEL,$(if $($(name)),$(name))))
UNKNOWN := $(filter-out lora rslora gora full,$(METHODS))
$(if $(UNKNOWN),$(error no such method: $(UNKNOWN); there are: lora rslora gora full))

MODEL_FILES = $(if $(NEW),$(OUT)/base/config.json,$(call model-files,$(MODEL)))
TEXTS = $(filter $(OUT)/text.txt,$(TEMPLATES))
IMAGE_FLAGS = $(CLASSES:%=--classes %) --templates $(TEMPLATES)
ADAPTED := $(filter-out full,$(METHODS))
$(call settings,new,NEW TOKENIZER NEW_STEPS NEW_LR TRAIN CLASSES TEMPLATES)
$(call settings,grad,MODEL TRAIN CLASSES TEMPLATES TARGETS STEPS GRAD_BATCH)
$(call settings,plan,RANK BUDGET)
$(call settings,init,GAMMA)
$(call settings,eval,MODEL TEST CLASSES TEMPLATES EVAL_FLAGS)
$(call settings,table,METHODS SEEDS)

.PHONY: table report given
given:
	@test -n '$(TRAIN)' && test -n '$(TEST)' && test -n '$(MODEL)' || { \
	  echo 'vision.mk: error: give TRAIN, TEST, and MODEL or NEW and TOKENIZER; the first lines of pipelines/vision.mk say how' >&2; exit 1; }

table: $(OUT)/table.txt
	@cat $<

report: $(OUT)/report.html

RESULTS := $(foreach seed,$(SEEDS),$(METHODS:%=$(OUT)/seed-$(seed)/%/result.json))

$(OUT)/table.txt: $(OUT)/base.json $(RESULTS) $(OUT)/settings/table
	$(ROOT)/pipelines/table $(OUT) "$(METHODS)" "$(SEEDS)" > $@

$(OUT)/report.html: $(OUT)/table.txt | $(TOOLS)
	$(BIN)gora-report $(OUT) $(FLAGS) -o $@

# The authors' one text.
$(OUT)/text.txt:
	mkdir -p $(@D)
	echo 'a photo of a {class}' > $@

# A new model: its text tower stays as it was drawn, which tells classes apart all the same.
$(OUT)/base/config.json: $(NEW) $(OUT)/settings/new $(TEXTS) | given $(TOOLS)
	$(call drop-stale,$(@D)/checkpoint,$^)
	$(TIMED) $@ $(LAUNCH) $(BIN)gora-train --method full --from-config $(NEW) --model $(TOKENIZER) --data $(TRAIN) $(IMAGE_FLAGS) \
	  --max-steps $(NEW_STEPS) --batch-size $(BATCH) --lr $(NEW_LR) --max-grad-norm 1 --resume $(SHARED_THREADS) $(FLAGS) -o $(@D)

$(OUT)/base.json: $(MODEL_FILES) $(TEXTS) $(OUT)/settings/eval | given $(TOOLS)
	$(TIMED) $@ $(LAUNCH) $(BIN)gora-eval --model $(MODEL) --task images --data $(TEST) $(IMAGE_FLAGS) $(EVAL_FLAGS) $(SHARED_THREADS) $(FLAGS) -o $@

# Each seed: the gradient, its scores and GoRA's plan and start.
$(SEEDS:%=$(OUT)/seed-%/grad.h5): $(OUT)/seed-%/grad.h5: $(MODEL_FILES) $(TEXTS) $(OUT)/settings/grad | given $(TOOLS)
	$(TIMED) $@ $(LAUNCH) $(BIN)gora-grad --model $(MODEL) --data $(TRAIN) $(IMAGE_FLAGS) --targets $(TARGETS) --steps $(STEPS) \
	  --batch-size $(GRAD_BATCH) --seed $* $(SHARED_THREADS) $(FLAGS) -o $@

$(SEEDS:%=$(OUT)/seed-%/scores.json): $(OUT)/seed-%/scores.json: $(OUT)/seed-%/grad.h5
	$(TIMED) $@ $(BIN)gora-score --model $(MODEL) $< $(FLAGS) -o $@

$(SEEDS:%=$(OUT)/seed-%/gora/plan.json): $(OUT)/seed-%/gora/plan.json: $(OUT)/seed-%/scores.json $(OUT)/settings/plan
	$(TIMED) $@ $(BIN)gora-plan $< --rank $(RANK) --budget $(BUDGET) $(FLAGS) -o $@

$(SEEDS:%=$(OUT)/seed-%/gora/init/adapter_config.json): $(OUT)/seed-%/gora/init/adapter_config.json: $(OUT)/seed-%/gora/plan.json \
  $(OUT)/seed-%/grad.h5 $(OUT)/settings/init
	$(TIMED) $@ $(BIN)gora-init $< --model $(MODEL) --gradients $(OUT)/seed-$*/grad.h5 --gamma $(GAMMA) --seed $* \
	  -t $(THREADS) $(FLAGS) -o $(@D)

# The plain methods: one rank everywhere, B = 0.
define plain_method
$$(call settings,plan-$(1),MODEL TARGETS RANK SCALING_$(1))

$(SEEDS:%=$(OUT)/seed-%/$(1)/plan.json): $(MODEL_FILES) $(OUT)/settings/plan-$(1) | given $(TOOLS)
	mkdir -p $$(@D)
	$(BIN)gora-plan --uniform --model $(MODEL) --targets $(TARGETS) --rank $(RANK) --scaling $(SCALING_$(1)) $(FLAGS) -o $$@

$(SEEDS:%=$(OUT)/seed-%/$(1)/init/adapter_config.json): $(OUT)/seed-%/$(1)/init/adapter_config.json: $(OUT)/seed-%/$(1)/plan.json
	$(TIMED) $$@ $(BIN)gora-init $$< --model $(MODEL) --method lora --seed $$* -t $(THREADS) $(FLAGS) -o $$(@D)
endef
$(foreach method,lora rslora,$(eval $(call plain_method,$(method))))

TRAINING = --data $(TRAIN) $(IMAGE_FLAGS) --batch-size $(BATCH) --epochs $(EPOCHS) --weight-decay $(WEIGHT_DECAY) --schedule cosine \
  --warmup-ratio 0.03 --lr-floor 0 $(TRAIN_FLAGS) --resume $(SHARED_THREADS) $(FLAGS)
EVALUATION = --task images --data $(TEST) $(IMAGE_FLAGS) $(EVAL_FLAGS) $(SHARED_THREADS) $(FLAGS)

# Training and evaluation are the same for all adapters. --resume: an interrupted make goes on where it was.
define train_and_eval
$$(call settings,train-$(1),TRAIN CLASSES TEMPLATES BATCH EPOCHS LR_$(1) WEIGHT_DECAY TRAIN_FLAGS)

$(SEEDS:%=$(OUT)/seed-%/$(1)/tuned/adapter_config.json): $(OUT)/seed-%/$(1)/tuned/adapter_config.json: \
  $(OUT)/seed-%/$(1)/init/adapter_config.json $(OUT)/settings/train-$(1)
	$$(call drop-stale,$$(@D)/checkpoint,$$^)
	$(TIMED) $$@ $(LAUNCH) $(BIN)gora-train $$(<D) --model $(MODEL) $$(TRAINING) --lr $(LR_$(1)) --lr-ratio 1 \
	  --log $(OUT)/seed-$$*/$(1)/metrics.jsonl --seed $$* -o $$(@D)

$(SEEDS:%=$(OUT)/seed-%/$(1)/result.json): $(OUT)/seed-%/$(1)/result.json: $(OUT)/seed-%/$(1)/tuned/adapter_config.json \
  $(OUT)/settings/eval
	$(TIMED) $$@ $(LAUNCH) $(BIN)gora-eval --model $(MODEL) --adapter $$(<D) $$(EVALUATION) -o $$@
endef
$(foreach method,$(ADAPTED),$(eval $(call train_and_eval,$(method))))

# The weights of the targets themselves.
$(call settings,train-full,TARGETS TRAIN CLASSES TEMPLATES BATCH EPOCHS LR_full WEIGHT_DECAY TRAIN_FLAGS)

$(SEEDS:%=$(OUT)/seed-%/full/tuned/config.json): $(OUT)/seed-%/full/tuned/config.json: $(MODEL_FILES) $(TEXTS) \
  $(OUT)/settings/train-full | given $(TOOLS)
	$(call drop-stale,$(@D)/checkpoint,$^)
	$(TIMED) $@ $(LAUNCH) $(BIN)gora-train --method full --targets $(TARGETS) --model $(MODEL) $(TRAINING) --lr $(LR_full) \
	  --log $(OUT)/seed-$*/full/metrics.jsonl --seed $* -o $(@D)

$(SEEDS:%=$(OUT)/seed-%/full/result.json): $(OUT)/seed-%/full/result.json: $(OUT)/seed-%/full/tuned/config.json $(OUT)/settings/eval
	$(TIMED) $@ $(LAUNCH) $(BIN)gora-eval --model $(<D) $(EVALUATION) -o $@
