# What every pipeline shares. Targets are files; a rerun does only what changed.

# A failing command in a pipe fails the recipe, and a target whose recipe failed is removed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
# Intermediate results are results.
.SECONDARY:
MAKEFLAGS += --no-builtin-rules --warn-undefined-variables --no-print-directory

# The project's folder, wherever make was called.
ROOT := $(patsubst %/,%,$(dir $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))))

# Where the tools are. With an installed gora: BIN= (from PATH) or BIN=/usr/local/bin/
BIN ?= $(ROOT)/.build/release/
# Compute threads of each stage; the stages run one after another unless make is given -j.
THREADS ?= $(shell nproc)
# Options for every stage, such as -q, -v or --progress never.
FLAGS ?=

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
