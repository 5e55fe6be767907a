# `make` lists the targets; `make check` is what a contributor runs.
.DEFAULT_GOAL := help
DATA ?= ../shared/data

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check: ## format, vet, staticcheck, arrows, tests of both modules
	./check

quick: ## the same without race detector and system tests
	./check quick

build: ## ./docket, without cgo
	CGO_ENABLED=0 go build -trimpath -o docket ./cmd/docket

demo: ## real and generated orders, served on 127.0.0.1:8080
	go run ./cmd/docket demo

facts: ## import both public data sets from DATA and check every figure
	CGO_ENABLED=0 go run ./internal/facts -data "$(DATA)"

bench: ## import and reconciliation of Olist against what bounds them, from DATA
	CGO_ENABLED=0 go run ./bench -data "$(DATA)"

histories: ## HISTORIES (200) histories of 8 clients, killed and restarted, checked for linearizability
	cd systemtest && DOCKET_HISTORIES=$(or $(HISTORIES),200) CGO_ENABLED=0 go test -count=1 -timeout 2h -run Linearizable -v .

kills: ## kill -9 under load, repair and import, KILLS (50) times
	cd systemtest && DOCKET_KILLS=$(or $(KILLS),50) CGO_ENABLED=0 go test -count=1 -timeout 2h -run Killed -v .

fuzz: ## each fuzz target for FUZZTIME (default 30s)
	./internal/fuzz.sh $(or $(FUZZTIME),30s)

.PHONY: help check quick build demo facts bench histories kills fuzz
