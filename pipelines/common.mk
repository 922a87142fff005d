# What every pipeline shares. Targets are files; a rerun does only what changed, in the files or in the settings. Rules are explicit
# or static patterns, so that no file is an intermediate one, which make would not miss when it is gone.

# A failing command in a pipe fails the recipe, and a target whose recipe failed is removed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --warn-undefined-variables --no-print-directory

# The project's folder, wherever make was called.
ROOT := $(patsubst %/,%,$(dir $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))))

# Where the tools are. With an installed gora: BIN= (from PATH) or BIN=/usr/local/bin/
BIN ?= $(ROOT)/.build/release/
# Compute threads of each stage; the stages run one after another unless make is given -j.
GIVEN_THREADS := $(filter-out undefined,$(origin THREADS))
THREADS ?= $(shell nproc)
# What starts gora-grad, gora-train and gora-eval as several processes, such as 'mpirun -n 8' (gora-mpi(7)). Their results are the same for any
# number of them.
LAUNCH ?=
# Threads of each process: unless THREADS is given, its share of the CPUs.
SHARED_THREADS = $(if $(LAUNCH),$(if $(GIVEN_THREADS),-t $(THREADS)),-t $(THREADS))
# Options for every stage, such as -q, -v or --progress never.
FLAGS ?=

# The head start's walk (docs/starts.md): its steps, of so many rows as the pipeline says; its rate and warm-up, where the preset's are not right.
HEAD_STEPS ?= 16
HEAD_LR ?=
HEAD_WARMUP ?=
WALK = --preset head-start --steps $(HEAD_STEPS) $(HEAD_LR:%=--explore-lr %) $(HEAD_WARMUP:%=--explore-warmup %)

# Builds the tools where BIN is the project's own and a source is newer. Results depend on it by order only: a rebuild alone
# does not run an experiment again.
BUILT := $(ROOT)/.build/pipeline-tools
ifeq ($(BIN),$(ROOT)/.build/release/)
TOOLS := $(BUILT)
$(BUILT): $(wildcard $(ROOT)/Sources/*/*.swift $(ROOT)/Sources/*/*/*.swift $(ROOT)/Sources/*/*.c $(ROOT)/Sources/*/*/*.h) $(ROOT)/Package.swift
	$(MAKE) -C $(ROOT) build
	touch $@
else
TOOLS :=
endif

# `timed TARGET gora-…` runs a stage and leaves its seconds beside the target.
TIMED := $(ROOT)/pipelines/timed

# $(call paths,MODEL OUT ...): make cuts names at blanks, and : and % have meanings of their own. Other paths are refused here.
empty :=
blank := $(empty) $(empty)
paths = $(foreach name,$(1),$(if $(filter 1,$(words $($(name)))),,$(error $(name) is "$($(name))": make needs a path without \
  spaces, and not an empty one; a symbolic link can give a folder such a name))$(if $(findstring :,$($(name)))$(findstring \
  %,$($(name)))$(findstring ',$($(name))),$(error $(name) is "$($(name))": make cannot use a path with a colon, a percent sign or \
  a quotation mark; a symbolic link can give it another name)))

# $(call model-files,MODEL): what results depend on, of a checkpoint's folder some files, else the GGUF file itself.
model-files = $(if $(filter %.gguf,$(1)),$(1),$(wildcard $(1)/config.json $(1)/tokenizer.json $(1)/*.safetensors))

# Options that change what is shown and not what is computed.
RESULT_FLAGS := $(filter-out -q -v -vv --quiet --verbose --progress --color --progress=% --color=% auto always never,$(FLAGS))

# $(call settings,STAGE,NAMES): the rule of OUT/settings/STAGE, which holds the values of NAMES that the stage's results were made
# with. It is a prerequisite of them: where a value is another than last time, it is written again and they are made again.
quoted = '$(subst ','\'',$(1))'
values = $(foreach name,$(1) RESULT_FLAGS,$(name)=$($(name)))
settings = $(eval $(call settings_rule,$(OUT)/settings/$(1),$(2)))
define settings_rule
ifneq ($$(file < $(1)),$$(call values,$(2)))
.PHONY: $(1)
endif
$(1):
	mkdir -p $$(@D)
	printf '%s\n' $$(call quoted,$$(call values,$(2))) > $$@
endef

# $(call drop-stale,FOLDER,FILES): a checkpoint in FOLDER that is older than one of FILES is of another run than the one to come.
drop-stale = for file in $(2); do if [ $$file -nt $(1)/state.safetensors ]; then rm -rf $(1); fi; done
