# gora: build, test and install. `make help` lists the targets; the experiments are in pipelines/*.mk.

# A failing command in a pipe fails the recipe; a target whose recipe failed is removed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --warn-undefined-variables

# Where `install` puts things; DESTDIR is for packagers.
PREFIX ?= /usr/local
DESTDIR ?=
# The toolchain, and further options for it (such as --static-swift-stdlib, for machines without one).
SWIFT ?= swift
SWIFTFLAGS ?=

# What is installed. gora-problems makes data for the pipelines and stays here.
TOOLS := grad score plan init train eval export report
PAGES1 := $(TOOLS:%=man/gora-%.1)
PAGES5 := $(wildcard man/*.5)
PAGES7 := $(wildcard man/*.7)
PIPELINES := $(wildcard pipelines/*.mk)

RELEASE := .build/release
BIN := $(DESTDIR)$(PREFIX)/bin
SHARE := $(DESTDIR)$(PREFIX)/share
COMPLETIONS_BASH := $(SHARE)/bash-completion/completions
COMPLETIONS_ZSH := $(SHARE)/zsh/site-functions
COMPLETIONS_FISH := $(SHARE)/fish/vendor_completions.d

# What `bench` measures and beside whom; Benchmarks/README.md explains them.
BENCH ?= all
PAIRS ?= 3
PEER ?=
DATA ?= $(wildcard ../shared/data)
SCRATCH ?=
BENCH_OUTPUT ?= .build/bench/bench.json

# How long `fuzz`, `faults` and `sanitize` look; Tests/README.md explains them.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=
FAULTS_MOST ?= 0
FAULTS_KILLS ?= 20
FAULTS_STAGES ?=
SANITIZE_TESTS ?=

.PHONY: all build setup setup-check debug test pipelines examples mpi fuzz faults sanitize bench bench-8b lint lint-text lint-man lint-swift man \
  install uninstall clean help

all: build

## build      the tools, optimised, in .build/release (also: make, make all)
build: setup
	$(SWIFT) build -c release $(SWIFTFLAGS)

## setup      installs what the build needs, where it is missing
setup:
	@pipelines/setup.sh

setup-check:
	@pipelines/setup.sh check

# Tools and tests unoptimised: what `lint` and `test` look at.
debug: setup-check
	$(SWIFT) build --build-tests $(SWIFTFLAGS)

## test       what pipelines make again, the examples of the man pages, then the unit tests
test: debug pipelines examples
	$(SWIFT) test --skip-build $(SWIFTFLAGS)

# Needs no build: tools that only say that they ran stand in for ours.
pipelines:
	Tests/pipelines/check.sh

examples: debug
	Tests/man/run-examples.sh

## mpi        stages as several processes, under each MPI that is installed, beside one process; quick, and passed over without MPI
mpi: debug
	GORA_BIN=.build/debug Tests/mpi/run

## fuzz       every parser under libFuzzer and AddressSanitizer; FUZZ_SECONDS=60 of each, FUZZ_TARGETS='json rows'
fuzz: setup-check
	SWIFT='$(SWIFT)' FUZZ_SECONDS=$(FUZZ_SECONDS) Tests/fuzz/run $(FUZZ_TARGETS)

## faults     every system call of every stage failing once, and stages killed; FAULTS_MOST=6 of each call
faults: build
	GORA_BIN=$(RELEASE) FAULTS_MOST=$(FAULTS_MOST) FAULTS_KILLS=$(FAULTS_KILLS) Tests/faults/run $(FAULTS_STAGES)

## sanitize   the tests under AddressSanitizer, then under ThreadSanitizer; SANITIZE_TESTS=a pattern of their names
sanitize: setup-check
	Tests/sanitize '$(SWIFT)' '$(SANITIZE_TESTS)'

## bench      speed and memory as tables and JSON; PEER=python beside PyTorch, BENCH=rows (see Benchmarks/README.md)
bench: build
	$(RELEASE)/gora-bench --rows '$(BENCH)' --pairs $(PAIRS) $(PEER:%=--peer %) $(DATA:%=--data %) $(SCRATCH:%=--scratch %) \
	  --tools $(RELEASE) -o $(BENCH_OUTPUT)

## bench-8b   the stages on a model of Llama 3.1 8B's shape; SCRATCH=folder with 30 GB of room
bench-8b: build
	$(RELEASE)/gora-bench --rows 8b $(SCRATCH:%=--scratch %) --tools $(RELEASE) -o .build/bench/bench-8b.json

## lint       scripts, make files, paths, man pages, Swift style, options against pages
lint: lint-text lint-man lint-swift man

lint-text:
	for script in $$(LC_ALL=C find .ci man pipelines Tests -type f -exec awk 'FNR == 1 && /^\#!\/bin\/(ba)?sh/ { print FILENAME } { nextfile }' {} +); do \
	  "$$(sed -n '1s/^#!//p' $$script)" -n $$script; \
	done
	@# common.mk, comparison.mk and rows.mk have no targets of their own; MAKE=: because calls of make run even with -n, which has not made their inputs.
	@# glue.mk has no model and data of its own.
	for file in $(filter-out %/common.mk %/comparison.mk %/rows.mk,$(PIPELINES)); do \
	  case $$file in */glue.mk) set -- MODEL=model DATA=data;; *) set --;; esac; \
	  env -u MAKEFLAGS make -n -f $$file MAKE=: "$$@" > /dev/null; \
	done
	@# A path of somebody's machine works on that machine alone.
	! grep -rnIE '(^|[^A-Za-z0-9_.~{}/-])/(home|root|Users|work|tmp/gora)[/-][A-Za-z]' . \
	  --exclude-dir=.git --exclude=.git --exclude-dir='.build*' --exclude-dir=results

lint-man: setup-check
	mandoc -Tlint -W warning man/*.[1-9]

lint-swift:
	$(SWIFT) format lint --strict -r Sources Tests Benchmarks Package.swift

## man        checks the pages against the tools' options, and their references
man: debug
	man/check.sh

## install    tools, pages and completions under $(DESTDIR)$(PREFIX)
install:
	@test -x $(RELEASE)/gora-grad || { echo 'install: nothing is built yet; run "make" first' >&2; exit 1; }
	install -d $(BIN) $(SHARE)/man/man1 $(SHARE)/man/man5 $(SHARE)/man/man7
	install -d $(COMPLETIONS_BASH) $(COMPLETIONS_ZSH) $(COMPLETIONS_FISH)
	install -m 755 $(TOOLS:%=$(RELEASE)/gora-%) $(BIN)
	install -m 644 $(PAGES1) $(SHARE)/man/man1
	install -m 644 $(PAGES5) $(SHARE)/man/man5
	install -m 644 $(PAGES7) $(SHARE)/man/man7
	for tool in $(TOOLS:%=gora-%); do \
	  $(RELEASE)/$$tool --generate-completion-script bash > $(COMPLETIONS_BASH)/$$tool; \
	  $(RELEASE)/$$tool --generate-completion-script zsh > $(COMPLETIONS_ZSH)/_$$tool; \
	  $(RELEASE)/$$tool --generate-completion-script fish > $(COMPLETIONS_FISH)/$$tool.fish; \
	done

## uninstall  what install has put there
uninstall:
	rm -f $(TOOLS:%=$(BIN)/gora-%)
	rm -f $(PAGES1:man/%=$(SHARE)/man/man1/%) $(PAGES5:man/%=$(SHARE)/man/man5/%) $(PAGES7:man/%=$(SHARE)/man/man7/%)
	rm -f $(TOOLS:%=$(COMPLETIONS_BASH)/gora-%) $(TOOLS:%=$(COMPLETIONS_ZSH)/_gora-%) $(TOOLS:%=$(COMPLETIONS_FISH)/gora-%.fish)

## clean      removes what was built; results of pipelines stay
clean:
	rm -rf .build

## help       this list
help:
	@sed -n 's/^## /  make /p' Makefile
	@for file in $(filter-out %/common.mk %/comparison.mk %/rows.mk,$(PIPELINES)); do echo "  make -f $$file"; done
