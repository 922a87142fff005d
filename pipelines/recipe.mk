# LoRA beside the recipe of docs/starts.md on several tasks: each at its own best rate of one grid, with every seed.
#
#   make -f pipelines/recipe.mk               the embedded base, generated problems, 60 short runs
#   make -f pipelines/recipe.mk TASKS='problems gsm8k' MODEL_gsm8k=/models/SmolLM2-135M DATA_gsm8k=train.jsonl TEST_gsm8k=test.jsonl
#   make -f pipelines/recipe.mk METHODS='lora head-start' RATES='5e-4 1e-3 2e-3' TRAIN_ROWS=128 BATCHES=4
#   make -j 2 -f pipelines/recipe.mk THREADS=1          two runs at a time
#   make -n -f pipelines/recipe.mk            what is run for each task
#
# Results: table.txt in OUT; TASK has the runs and curves of sweep.mk. An interrupted make goes on where it was.
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
.DEFAULT_GOAL := table
OUT ?= results/recipe

# Names of tasks; MODEL_name, DATA_name, TEST_name and other names of sweep.mk with _name are what it calls so, for that task alone.
TASKS ?= problems
# Of rows.mk: soap is LoRA with rsLoRA's scale and SOAP's rule, head-start-adamw the head start without that rule.
METHODS ?= lora gora soap head-start-adamw head-start
RATES ?= 1.5e-3 3e-3 6e-3 1.2e-2
RATIOS ?= 1
SEEDS ?= 0 1 2

$(call paths,OUT)
$(if $(and $(TASKS),$(METHODS),$(SEEDS)),,$(error TASKS, METHODS and SEEDS must name one or more))

.PHONY: table always
table: $(OUT)/table.txt
	@cat $<

# always: what a run depends on is sweep.mk's to say; one that has all it needs takes a moment.
always:

# setting TASK,NAME: what is said of the task, or of all.
setting = $(if $(filter undefined,$(origin $(2)_$(1))),$(if $(filter undefined,$(origin $(2))),,$(2)="$($(2))"),$(2)="$($(2)_$(1))")
SETTINGS := MODEL DATA TEST TARGETS METHODS RATES RATIOS SEEDS RANKS BATCHES TRAIN_ROWS HELD_OUT STEPS TRAIN_FLAGS \
  HEAD_STEPS HEAD_WARMUP HEAD_LR
define run
$(OUT)/$(1)/table.txt: always | $(TOOLS)
	+$$(MAKE) -f $(ROOT)/pipelines/sweep.mk OUT=$$(@D) $(foreach name,$(SETTINGS),$(call setting,$(1),$(name))) > /dev/null
endef
$(foreach task,$(TASKS),$(eval $(call run,$(task))))

$(OUT)/table.txt: $(TASKS:%=$(OUT)/%/table.txt)
	{ $(foreach task,$(TASKS),echo "$(task)"; cat $(OUT)/$(task)/table.txt; echo;) } > $@
