# A sweep: every method at one grid of rates, and of ratios of B's rate to A's, for each mean rank and batch size, with every seed. Where a
# published comparison has one rate for all, this shows the curve, and what each method comes to at its own best.
#
#   make -f pipelines/sweep.mk                the embedded base, generated problems, 72 short runs; a quarter of an hour on two cores
#   make -f pipelines/sweep.mk METHODS='lora rslora lora-plus gora' RATES='3e-4 1e-3 3e-3 1e-2' RATIOS='1 4 16'
#   make -f pipelines/sweep.mk RANKS='4 8 32' BATCHES='8 32 128' TRAIN_ROWS=12800
#   make -f pipelines/sweep.mk MODEL=/models/Llama-3.2-1B DATA=train.jsonl TEST=test.jsonl TARGETS=q_proj,k_proj,v_proj,o_proj
#   make -j 8 -f pipelines/sweep.mk THREADS=1 ...         eight runs at a time
#   make -j 16 -f pipelines/sweep.mk THREADS=16 LAUNCH='srun -N 1 -n 1 -c 16 --exclusive' ...     on the nodes of a job of Slurm
#   make -f pipelines/sweep.mk report         table and curves as a page, report.html
#   make -n -f pipelines/sweep.mk             what is run
#
# The rate and the ratio of a method are chosen on the last HELD_OUT rows of DATA, which are not trained on, by the mean loss over the seeds;
# TEST is measured for the chosen ones alone. Runs whose loss is not finite are left out, and said to be.
# Results: table.txt, rates.svg (the curves), and seed-N/METHOD/rank-R/batch-B/ratio-Q/lr-RATE/, in OUT. Longer lists make what is new.
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
SELF := $(ROOT)/pipelines/sweep.mk
.DEFAULT_GOAL := table
OUT ?= results/sweep

# Of rows.mk; the one that differences are taken to.
METHODS ?= lora gora
BASELINE ?= lora
# Rates of A, three decades; ratios of B's rate to it.
RATES ?= 1e-4 3e-4 1e-3 3e-3 1e-2 3e-2
RATIOS ?= 1 16
# Mean ranks, and rows a step.
RANKS ?= 8
BATCHES ?= 8
# Rows that each run sees: the steps are as many as batches in them.
TRAIN_ROWS ?= 480
SEEDS ?= 0 1 2
CHOOSING_SEEDS = $(SEEDS)
TRAIN_FLAGS ?= --max-grad-norm 1

# What rows.mk asks for. Rates are not the protocol's here, and ratios those of RATIOS, where both A and B are trained.
PAPER_RATE := -
ADALORA_RATE := -
RATIO := 1
RANK_RANGE := range
RATES_EQUAL = $(RATES)
ADALORA_RANK := FIRST
EVA_COMPONENTS ?= $(shell printf '%d\n' $(RANKS) | sort -n | awk 'END { print 2 * $$1 }')
include $(ROOT)/pipelines/rows.mk

UNKNOWN := $(filter-out $(ALL_METHODS),$(METHODS))
$(if $(UNKNOWN),$(error no such method: $(UNKNOWN); there are: $(ALL_METHODS)))
$(if $(and $(METHODS),$(RATIOS),$(RANKS),$(BATCHES)),,$(error METHODS, RATES, RATIOS, RANKS, BATCHES and SEEDS must name one or more))
$(if $(filter $(METHODS),$(BASELINE)),,$(error BASELINE is "$(BASELINE)", which is none of METHODS))
ALL :=
# AdaLoRA begins at one and a half times the rank.
define row
ALL += $(1)/rank-$(2)/batch-$(3)
ROW_$(1)/rank-$(2)/batch-$(3) = $$(subst uniform-FIRST,uniform-$(shell echo $$((3 * $(2) / 2))),$$(ROW_$(1))) rank=$(2) batch=$(3) \
  steps=$(shell echo $$(($(TRAIN_ROWS) > $(3) ? $(TRAIN_ROWS) / $(3) : 1)))
endef
$(foreach method,$(METHODS),$(foreach rank,$(RANKS),$(foreach batch,$(BATCHES),$(eval $(call row,$(method),$(rank),$(batch))))))

TITLE :=
include $(ROOT)/pipelines/comparison.mk

# What the lists name, and nothing that earlier ones left; rates, choices and tests in a table; and the curves.
chosen: $(OUT)/rates.svg
$(OUT)/table.txt: $(RESULTS) $(OUT)/base.json $(CHOICES) always
	rm -rf $(OUT)/shown
	mkdir -p $(OUT)/shown
	{ echo base.json; $(foreach row,$(RUN),for seed in $(CHOOSING_SEEDS); do for point in $(call grid,$(row)); do \
	  echo seed-$$seed/$(row)/$$point/validation.json; done; done; \
	  for seed in $(SEEDS); do printf "seed-$$seed/$(row)/$(call best,$(row))/%s\n" $(MEASURED); done;) } \
	  | tar -C $(OUT) -cf - -T - | tar -C $(OUT)/shown -xf -
	$(BIN)gora-report $(OUT)/shown --figure rates --baseline $(BASELINE) --format text -q -o $@

$(OUT)/rates.svg: $(OUT)/table.txt
	$(BIN)gora-report $(OUT)/shown --figure rates --baseline $(BASELINE) -q -o $@

.PHONY: report
report: table
	$(BIN)gora-report $(OUT)/shown --baseline $(BASELINE) $(FLAGS) -o $(OUT)/report.html
