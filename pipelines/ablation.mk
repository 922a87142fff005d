# The paper's ablations in small, each row twice: at the paper's protocol, which is one rate for all, and at the row's own best
# rate of one sweep. Published gains over LoRA shrink when LoRA gets its own rate too; this table shows by how much.
#
#   make -f pipelines/ablation.mk             the embedded base, generated problems, three seeds; half an hour on two cores
#   make -f pipelines/ablation.mk ROWS='lora gora gamma-0' RATES='2e-4 4e-4'      a part of it
#   make -f pipelines/ablation.mk EVAL=gsm8k  accuracy on the held-out problems too
#   make -f pipelines/ablation.mk MODEL=/models/stories260K DATA=train.jsonl TEST=test.jsonl
#   make -n -f pipelines/ablation.mk sweep    what is run to choose the rates
#
# Results: table.txt, table.json, and runs.tsv with a line for each run, in OUT. An interrupted make goes on where it was.
include $(dir $(lastword $(MAKEFILE_LIST)))common.mk
SELF := $(ROOT)/pipelines/ablation.mk
.DEFAULT_GOAL := table
OUT ?= results/ablation

# Rates of A. That of B is RATIO times as large, as in the paper; the rows -equal have equal rates and hence a grid of their own.
RATES ?= 1e-4 2e-4 4e-4 8e-4 1.6e-3
RATES_EQUAL ?= 8e-4 1.6e-3 3.2e-3 6.4e-3 1.28e-2
RATIO ?= 16
# The rate of all rows in the first part of the table.
COMMON_RATE ?= 4e-4

# Ranks of the row gora; like the other ranges below those of the paper, which are for RANK 8.
RANK_RANGE ?= 4-32

# The rows, each by what it changes of these (comparison.mk says what the keys mean).
DEFAULTS = gradient=$(STEPS) metric=sensitivity ranks=$(RANK_RANGE) scaling=rslora method=gora adapter=lora gamma=$(GAMMA) a=kaiming rule=- \
  ratio=$(RATIO) rate=$(COMMON_RATE)
PLAIN := gradient=none ranks=uniform method=lora gamma=-
ROW_lora := $(PLAIN)
ROW_lora-equal := $(PLAIN) ratio=1
ROW_gora :=
ROW_ranks-8-8 := ranks=8-8
ROW_ranks-6-15 := ranks=6-15
ROW_ranks-4-32 := ranks=4-32
ROW_gamma-0 := gamma=0
ROW_gamma-3e-2 := gamma=3e-2
ROW_gamma-5e-2 := gamma=5e-2
ROW_gamma-8e-2 := gamma=8e-2
ROW_gamma-auto := gamma=auto
ROW_gradient-nuclear := metric=gradient-nuclear
ROW_sensitivity-nuclear := metric=sensitivity-nuclear
ROW_n-8 := gradient=8
ROW_n-32 := gradient=32
ROW_n-64 := gradient=64
ROW_n-stable := gradient=stable
ROW_pro := gradient=adalomo
ROW_a-gradient-svd := a=gradient-svd
ROW_a-gradient-svd-2e-2 := a=gradient-svd gamma=2e-2
ROW_a-weight-svd := a=weight-svd
ROW_gora-equal := ratio=1
ROW_ranks-8-8-equal := ranks=8-8 ratio=1
ROW_sensitivity-nuclear-equal := metric=sensitivity-nuclear ratio=1
ROW_gamma-0-equal := gamma=0 ratio=1
ROW_gamma-auto-equal := gamma=auto ratio=1
ROW_a-gradient-svd-equal := a=gradient-svd ratio=1
ROW_a-weight-svd-equal := a=weight-svd ratio=1
ALL := lora lora-equal gora ranks-8-8 ranks-6-15 ranks-4-32 gamma-0 gamma-3e-2 gamma-5e-2 gamma-8e-2 gamma-auto \
  gradient-nuclear sensitivity-nuclear n-8 n-32 n-64 n-stable pro a-gradient-svd a-gradient-svd-2e-2 a-weight-svd \
  gora-equal ranks-8-8-equal sensitivity-nuclear-equal gamma-0-equal gamma-auto-equal a-gradient-svd-equal a-weight-svd-equal

TITLE = rate $(COMMON_RATE)
NOTE = B has $(RATIO) times the rate of A. lora is rsLoRA with that ratio too; rows -equal have equal rates.
include $(ROOT)/pipelines/comparison.mk
