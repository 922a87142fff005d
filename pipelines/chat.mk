# Chat: an adapter trained on instructions, and a judge's rating of its answers to MT-Bench. The flow is that of math.mk.
#
#   make -f pipelines/chat.mk MODEL=/models/Llama-3.1-8B TRAIN=WizardLM_evol_instruct_70k.json TEST=question.jsonl \
#        JUDGE_PROMPTS=judge_prompts.jsonl REFERENCES=reference_answer/gpt-4.jsonl JUDGE='my-judge --batch -'
#   make -n -f pipelines/chat.mk ...          the method, command by command
#
# TRAIN: rows with instruction and output, or chats. JUDGE: a command that answers lines of JSON in the form of OpenAI's batches with lines
# of completions (gora-eval(1), Judges); without one the answers and the requests to a judge are made, and no table.
OUT ?= results/chat
TASK := mt-bench
METRIC := score
MAX_NEW ?= 1024
JUDGE_PROMPTS ?=
REFERENCES ?=
JUDGE ?=
JUDGE_MODEL ?= gpt-4
TASK_INPUTS = $(JUDGE_PROMPTS) $(REFERENCES)
# Quoted for the shell by one who knows quotes.
TASK_FLAGS = $(JUDGE_PROMPTS:%=--judge-prompts %) $(REFERENCES:%=--references %) $(if $(JUDGE_PROMPTS),--judge-model '$(JUDGE_MODEL)' \
  $(if $(JUDGE),--judge-command '$(subst ','\'',$(JUDGE))'))
TASK_OUTPUTS = $(if $(JUDGE_PROMPTS),--judge-requests)
MAX_LENGTH ?= 1024

include $(dir $(lastword $(MAKEFILE_LIST)))math.mk

ifeq ($(JUDGE),)
.DEFAULT_GOAL := answers
.PHONY: answers
answers: $(OUT)/base.json $(RESULTS)
endif
