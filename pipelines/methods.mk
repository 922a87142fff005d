# Every method of the paper's tables on one model and data, and those beside them: its Tables 2 and 6 in small. Each stands twice in the
# table, at the paper's rate and at its own best rate of the same sweep.
#
#   make -f pipelines/methods.mk              the embedded base, generated problems, three seeds; half an hour on two cores
#   make -f pipelines/methods.mk ROWS='lora gora dora' SEEDS='0 1'                a part of it
#   make -f pipelines/methods.mk EVAL=gsm8k   accuracy on the held-out problems too
#   make -f pipelines/methods.mk MODEL=/models/Llama-3.2-1B DATA=train.jsonl TEST=test.jsonl TARGETS=q_proj,k_proj,v_proj,o_proj
#   make -n -f pipelines/methods.mk sweep     what is run to choose the rates
#
# Results: table.txt, table.json, and runs.tsv with a line for each run, in OUT. An interrupted make goes on where it was.
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
SELF := $(ROOT)/pipelines/methods.mk
.DEFAULT_GOAL := table
OUT ?= results/methods

# Rates of A, of E and of the weights; that of B is RATIO times as large where the method says so. One sweep for all.
RATES ?= 1e-4 4e-4 1.6e-3 6.4e-3 2.56e-2
RATES_EQUAL ?= $(RATES)
# Those whose best is the highest of these have one beyond it.
RATES_adalora ?= $(RATES) 1.02e-1
RATES_lora-fa ?= $(RATES) 1.02e-1
RATIO ?= 16
# The paper's: of all methods, and of AdaLoRA.
PAPER_RATE ?= 5e-5
ADALORA_RATE ?= 5e-4
# Steps of some large rates go far: clipped gradients keep them finite.
TRAIN_FLAGS ?= --max-grad-norm 1
# GoRA's ranks, and AdaLoRA's first rank, of which two thirds stay.
RANK_RANGE ?= 4-32
ADALORA_RANK ?= 12
# Components of EVA that its ranks are shared out among: twice the mean rank.
EVA_COMPONENTS ?= 16

include $(ROOT)/pipelines/rows.mk
ALL := $(ALL_METHODS)

TITLE = paper's rate
NOTE = Rank $(RANK) or as many parameters, alpha 16; B has $(RATIO) times the rate of A in lora-plus and gora, the same elsewhere. \
  AdaLoRA begins at rank $(ADALORA_RANK).
include $(ROOT)/pipelines/comparison.mk
