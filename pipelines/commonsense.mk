# Commonsense: an adapter trained on commonsense_170k, and the share of a test set's questions that it answers rightly, by the protocol of
# LLM-Adapters and DoRA: what is asked is learnt too, at most 256 tokens of a row, answers by a search with four beams. The flow is that
# of math.mk.
#
#   make -f pipelines/commonsense.mk MODEL=/models/Llama-2-7b TRAIN=commonsense_170k.json TEST=dataset/boolq/test.json
#   make -f pipelines/commonsense.mk ... EVAL_TEMPLATE=commonsense-eval       the prompts of the published numbers
#   make -n -f pipelines/commonsense.mk MODEL=... TRAIN=... TEST=...          the method, command by command
#
# One test set a run: OUT=results/commonsense/piqa keeps them apart; adapters are those of TRAIN, so that the other sets' runs can copy them.
OUT ?= results/commonsense
TASK := commonsense
LEARN ?= all
TEMPLATE ?= commonsense
EVAL_TEMPLATE ?= $(TEMPLATE)
BEAMS ?= 4
MAX_NEW ?= 32
TASK_FLAGS = --beams $(BEAMS)
MAX_LENGTH ?= 256
BATCH ?= 16

include $(dir $(lastword $(MAKEFILE_LIST)))math.mk
