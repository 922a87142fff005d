# GLUE: for each task an adapter of each method, trained on its sentences, and the share of held-out ones that it labels rightly; the
# paper's Table 1. The flow of each task is that of math.mk.
#
#   make -f pipelines/glue.mk MODEL=/models/t5-base DATA=/data/glue
#                                             the paper's protocol: MNLI, SST-2, CoLA, QNLI and MRPC, one epoch, batches of 32
#   make -f pipelines/glue.mk MODEL=... DATA=... TASKS='cola mrpc' METHODS='lora gora' SEEDS='0 1 2'
#   make -f pipelines/glue.mk ... METRIC=accuracy                          by the answers that are written, not their first tokens
#   make -f pipelines/glue.mk ... PROMPTS=t5                               T5's own prompts in place of LoRA-GA's
#   make -n -f pipelines/glue.mk MODEL=... DATA=...                        the method, command by command
#
# DATA has the folders of GLUE as they are distributed: DATA/CoLA/train.tsv, DATA/CoLA/dev.tsv, and so on.
# Results: table.txt in OUT, and for each task what math.mk leaves, in OUT/TASK. An interrupted make goes on where it was.
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
.DEFAULT_GOAL := table

OUT ?= results/glue
MODEL ?=
DATA ?=
TASKS ?= mnli sst2 cola qnli mrpc
METHODS ?= lora gora
SEEDS ?= 0 1 2
PROMPTS ?= lora-ga
# Of gora-eval's classify: first_token_accuracy is LoRA-GA's and, it seems, the paper's; accuracy, matthews, f1; pearson for stsb.
METRIC ?= first_token_accuracy

# The paper's protocol.
TARGETS ?= all-linear
RANK ?= 8
BUDGET ?= open
GAMMA ?= 5e-2
STEPS ?= 64
GRAD_BATCH ?= 32
BATCH ?= 32
# Steps; one epoch where none are said.
TRAIN_STEPS ?=
LR ?= 1e-4
MAX_LENGTH ?= 128
MAX_NEW ?= 32
DTYPE ?= f32
TRAIN_FLAGS ?= --dtype $(DTYPE) --weight-decay 0 --lr-floor 0
GRAD_FLAGS ?= --dtype $(DTYPE)
EVAL_FLAGS ?= --dtype $(DTYPE)

# Folders and held-out files.
FOLDER_mnli := MNLI
FOLDER_sst2 := SST-2
FOLDER_cola := CoLA
FOLDER_qnli := QNLI
FOLDER_mrpc := MRPC
FOLDER_rte := RTE
FOLDER_qqp := QQP
FOLDER_wnli := WNLI
FOLDER_stsb := STS-B
ALL := mnli sst2 cola qnli mrpc rte qqp wnli stsb
held-out = $(DATA)/$(FOLDER_$(1))/$(if $(filter mnli,$(1)),dev_matched,dev).tsv

$(call paths,MODEL OUT DATA)
UNKNOWN := $(filter-out $(ALL),$(TASKS))
$(if $(UNKNOWN),$(error no such task: $(UNKNOWN); there are: $(ALL)))
$(if $(and $(TASKS),$(METHODS),$(SEEDS)),,$(error TASKS, METHODS and SEEDS must name one or more))

.PHONY: table always
table: $(OUT)/table.txt
	@cat $<

# always: what a run depends on is math.mk's to say; one that has all it needs takes a moment.
always:

define run
$(OUT)/$(1)/table.txt: always | $(TOOLS)
	+$$(MAKE) -f $(ROOT)/pipelines/math.mk OUT=$$(@D) MODEL=$(MODEL) TRAIN=$(DATA)/$(FOLDER_$(1))/train.tsv TEST=$(call held-out,$(1)) \
	  GLUE=$(1) PROMPTS=$(PROMPTS) TASK=classify METRIC=$(METRIC) METHODS="$(METHODS)" SEEDS="$(SEEDS)" TARGETS="$(TARGETS)" RANK=$(RANK) \
	  BUDGET=$(BUDGET) GAMMA=$(GAMMA) STEPS=$(STEPS) GRAD_BATCH=$(GRAD_BATCH) BATCH=$(BATCH) TRAIN_STEPS=$(TRAIN_STEPS) LR=$(LR) \
	  $$(foreach method,lora rslora loraplus gora,LR_$$(method)=$(LR)) MAX_LENGTH=$(MAX_LENGTH) MAX_NEW=$(MAX_NEW) \
	  TRAIN_FLAGS="$(TRAIN_FLAGS)" GRAD_FLAGS="$(GRAD_FLAGS)" EVAL_FLAGS="$(EVAL_FLAGS)" BIN="$(BIN)" THREADS=$(THREADS) FLAGS="$(FLAGS)" > /dev/null
endef
$(foreach task,$(TASKS),$(eval $(call run,$(task))))

# Methods by tasks; the mean of the tasks last, where each has a number.
$(OUT)/table.txt: $(TASKS:%=$(OUT)/%/table.txt) always
	{ $(ROOT)/pipelines/glue-lines $(OUT) "$(TASKS)" "$(METHODS)" "$(SEEDS)" $(METRIC) | $(ROOT)/pipelines/matrix mean; \
	  echo "$(METRIC), %: mean ± deviation over seeds $(SEEDS)"; } > $@
