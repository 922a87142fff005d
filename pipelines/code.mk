# Code: an adapter trained on instructions for programs, and how many of HumanEval's problems its programs solve. The flow is that of math.mk.
#
#   make -f pipelines/code.mk MODEL=/models/Llama-3.1-8B TRAIN=Code-Feedback.jsonl TEST=HumanEval.jsonl
#                                             the paper's job: GoRA, one epoch, code alone learnt
#   make -f pipelines/code.mk MODEL=... TRAIN=... TEST=... METHODS='rslora gora' SEEDS='0 1 2'
#   make -f pipelines/code.mk ... LEARN=answers          what stands around the code is learnt too
#   make -n -f pipelines/code.mk MODEL=... TRAIN=... TEST=...          the method, command by command
#
# TRAIN: rows with instruction and output, query and answer, or messages (Code-Feedback, CodeFeedback-Filtered-Instruction, Code Alpaca).
# Programs are run in bubblewrap's sandbox, by python3.
OUT ?= results/code
TASK := humaneval
METRIC := pass@1
LEARN ?= code
# How problems are put, how many programs each, and how these are sampled; the longest of them.
STYLE ?= raw
ATTEMPTS ?= 1
SAMPLING ?=
MAX_NEW ?= 512
TASK_FLAGS = --style $(STYLE) --attempts $(ATTEMPTS) $(SAMPLING)

# Prompts are the task's own; TEMPLATE is for training alone, unless problems are put in a chat.
EVAL_TEMPLATE = $(if $(filter instruct,$(STYLE)),$(TEMPLATE))
GAMMA ?= 0.05
MAX_LENGTH ?= 1024

include $(dir $(lastword $(MAKEFILE_LIST)))math.mk
