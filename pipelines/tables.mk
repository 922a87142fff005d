# The paper's tables and the replies to its reviewers, as paper.tsv has them, and beside each figure what is measured here: a row is a method, a
# column a task, marked "paper" or "here". What is measured is what methods.mk, ablation.mk and glue.mk measure.
#
#   make -f pipelines/tables.mk               the embedded base, generated problems, three seeds; an hour on two cores
#   make -f pipelines/tables.mk SEEDS=0 ABLATION_ROWS=          one seed, without the ablations
#   make -f pipelines/tables.mk TASKS='problems gsm8k' MODEL_gsm8k=/models/SmolLM2-135M DATA_gsm8k=train.jsonl TEST_gsm8k=test.jsonl
#   make -f pipelines/tables.mk ... EVAL_gsm8k=gsm8k            its accuracy too
#   make -f pipelines/tables.mk ... GLUE_MODEL=/models/t5-base GLUE_DATA=/data/glue GLUE_TASKS='cola mrpc'
#   make -j 2 -f pipelines/tables.mk THREADS=1                  two runs at a time
#   make -n -f pipelines/tables.mk            what is run for each task
#
# Losses are those of held-out rows, at the protocol's rate for all and at each row's own; the less the better. Accuracies of the paper are of
# models a thousand times as large: what can be compared is the order of the rows.
# Results: table.txt in OUT; TASK/methods, TASK/ablation and glue have the runs. An interrupted make goes on where it was.
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
.DEFAULT_GOAL := table
OUT ?= results/tables

# Names of tasks; MODEL_name, DATA_name, TEST_name and EVAL_name are what methods.mk calls so, with its defaults.
TASKS ?= problems
SEEDS ?= 0 1 2
# Rows of methods.mk and of ablation.mk.
METHOD_ROWS ?= lora full rslora dora lora-plus olora pissa lora-ga adalora gora
ABLATION_ROWS ?= gora ranks-4-32 ranks-6-15 ranks-8-8 gamma-0 gamma-3e-2 gamma-5e-2 gamma-8e-2 gamma-auto gradient-nuclear sensitivity-nuclear \
  n-8 n-64 n-stable pro a-gradient-svd a-weight-svd
# GLUE, where there is a model for it.
GLUE_MODEL ?=
GLUE_DATA ?=
GLUE_TASKS ?= $(if $(GLUE_MODEL),mnli sst2 cola qnli mrpc)
GLUE_METHODS ?= lora rslora loraplus gora
METRIC ?= first_token_accuracy

$(call paths,OUT)
$(if $(and $(TASKS),$(METHOD_ROWS),$(SEEDS)),,$(error TASKS, METHOD_ROWS and SEEDS must name one or more))
$(if $(GLUE_TASKS),$(call paths,GLUE_MODEL GLUE_DATA))

.PHONY: table always
table: $(OUT)/table.txt
	@cat $<

# always: what a run depends on is the other makefile's to say; one that has all it needs takes a moment.
always:

# given TASK,NAMES: NAME=value for the NAMES that are said of the task.
given = $(foreach name,$(2),$(if $(filter undefined,$(origin $(name)_$(1))),,$(name)="$($(name)_$(1))"))
define run
$(OUT)/$(1)/$(2)/runs.tsv: always | $(TOOLS)
	+$$(MAKE) -f $(ROOT)/pipelines/$(2).mk OUT=$$(@D) ROWS="$(3)" SEEDS="$(SEEDS)" $(call given,$(1),MODEL DATA TEST EVAL TARGETS BATCH \
	  TRAIN_STEPS HELD_OUT) > /dev/null
endef
$(foreach task,$(TASKS),$(eval $(call run,$(task),methods,$(METHOD_ROWS))))
$(if $(ABLATION_ROWS),$(foreach task,$(TASKS),$(eval $(call run,$(task),ablation,$(ABLATION_ROWS)))))

$(OUT)/glue/table.txt: always | $(TOOLS)
	+$(MAKE) -f $(ROOT)/pipelines/glue.mk OUT=$(@D) MODEL=$(GLUE_MODEL) DATA=$(GLUE_DATA) TASKS="$(GLUE_TASKS)" METHODS="$(GLUE_METHODS)" \
	  SEEDS="$(SEEDS)" METRIC=$(METRIC) > /dev/null

$(OUT)/table.txt: $(foreach task,$(TASKS),$(OUT)/$(task)/methods/runs.tsv $(if $(ABLATION_ROWS),$(OUT)/$(task)/ablation/runs.tsv)) \
  $(if $(GLUE_TASKS),$(OUT)/glue/table.txt) $(ROOT)/pipelines/paper.tsv
	{ $(ROOT)/pipelines/side-by-side $(OUT) "$(TASKS)" "$(GLUE_TASKS)" "$(GLUE_METHODS)" "$(SEEDS)" $(METRIC); \
	  echo "paper: printed figures, ± as there. here: held-out loss, or accuracy where it says %; mean ± deviation over seeds $(SEEDS)."; \
	  echo "one rate: that of the protocol for all rows; own rate: the row's best of one sweep, chosen on other rows of data."; } > $@
