# NeuroSphere. `make` says what there is.

.DEFAULT_GOAL := help
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

GO       ?= go
PKG      ?= ./...
BENCH    ?= .
FUZZTIME ?= 60s

# Tools are built once, under a name with their version, from tools/go.mod.
version    = $(shell awk '$$1 == "$(1)" && $$2 ~ /^v/ { print $$2; exit }' tools/go.mod)
GOLANGCI  := .tools/golangci-lint-$(call version,github.com/golangci/golangci-lint/v2)
GOTESTSUM := .tools/gotestsum-$(call version,gotest.tools/gotestsum)
LINT       = $(abspath $(GOLANGCI))
# Each is a Go module of its own; what is wrong in one must not hide in another.
MODULES   := . deploy/check

# The directory of PostgreSQL's programs is handed on, so that what was found here is what is used.
NEED_POSTGRES = PG_BIN_DIR=$$(tools/need-postgres) && export PG_BIN_DIR

.PHONY: help demo apart build test full check lint fmt bench fuzz isolation

help: ## this list
	@awk -F ' ## ' '/^[a-z]+:.* ## / { sub(/:.*/, "", $$1); printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: ## everything in one process, with demo calls for two businesses; ONCE=1 stops when they have flowed through
	@$(NEED_POSTGRES) && \
	echo "building bin/neurosphere (the first time takes a minute or two)" >&2 && \
	$(GO) build -o bin/neurosphere ./cmd/neurosphere && \
	exec bin/neurosphere demo $(if $(filter-out 0,$(ONCE)),-once)

apart: build ## everything as separate processes on this machine, two of each worker
	@$(NEED_POSTGRES) && \
	$(GO) build -o bin/nats-server github.com/nats-io/nats-server/v2 && \
	exec bin/neurosphere apart

build: ## every program, into bin/
	$(GO) build -o bin/ ./cmd/...

test: $(GOTESTSUM) ## every test, race detector on; PKG=./internal/bus/... for some
	@tools/need-cc
	@$(NEED_POSTGRES) && export CGO_ENABLED=1 && \
	$(GO) -C deploy/check test -race ./... && \
	$(GOTESTSUM) --format pkgname-and-test-fails --format-hide-empty-pkg -- -race -timeout 10m $(PKG)

full: ## what tests do with a part, with all: replay of every real call, and an old database of a million memories
	@$(NEED_POSTGRES) && echo "this takes some minutes" >&2 && \
	FULL_SIZE=1 $(GO) test -count=1 -timeout 60m -v -run '^TestReplayOfRealCallsIsTheSameHoweverItGoes$$' ./cmd/neurosphere && \
	FULL_SIZE=1 $(GO) test -count=1 -timeout 60m -v -run '^TestImport$$/^both' ./internal/legacy

check: lint test ## what CI runs: formatting, vet, linters, architecture rules, modules, tests

lint: $(GOLANGCI) ## formatting, vet, linters, architecture rules, tidy modules; no tests
	@for script in .ci/run tools/need-* tools/install tools/fuzz tools/isolation-mutations; do sh -n "$$script" || exit 1; done
	@for m in $(MODULES); do echo "lint $$m" && (cd "$$m" && \
		$(LINT) fmt --diff && $(GO) vet ./... && $(LINT) run) || exit 1; done
	@GOOS=darwin $(GO) vet ./... # the other system it builds for
	@$(GO) test -count=1 . # arch_test.go
	@for m in $(MODULES); do echo "tidy $$m" && $(GO) -C "$$m" mod tidy -diff || exit 1; done

isolation: ## every route as every tenant for what others have, and each barrier taken away once; writes bin/isolation.html
	@$(NEED_POSTGRES) && echo "this takes some minutes" >&2 && mkdir -p bin && \
	ISOLATION_ALL=1 ISOLATION_PAGE="$(abspath bin/isolation.html)" ISOLATION_RESULTS="$(abspath bin/isolation-filters.json)" \
	$(GO) test -count=1 -timeout 60m ./internal/isolation; code=$$?; cat bin/isolation.txt && echo bin/isolation.html; exit $$code

fmt: $(GOLANGCI) ## format every Go file
	@for m in $(MODULES); do (cd "$$m" && $(LINT) fmt) || exit 1; done

bench: ## benchmarks: our figure, the raw limit measured in the same run, the ratio; BENCH=regexp for some
	@$(NEED_POSTGRES) && $(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG)

fuzz: ## every fuzz target, FUZZTIME (60s) each
	@$(NEED_POSTGRES) && GO="$(GO)" tools/fuzz $(FUZZTIME)

$(GOLANGCI): tools/go.mod
	@echo "building $@ (once; takes a few minutes)" >&2
	@mkdir -p $(@D) && $(GO) -C tools build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint && touch $@

$(GOTESTSUM): tools/go.mod
	@mkdir -p $(@D) && $(GO) -C tools build -o ../$@ gotest.tools/gotestsum && touch $@
