# `make` lists the targets; `make check` is what a contributor runs.
.DEFAULT_GOAL := help
DATA ?= ../shared/data

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

facts-grpc: ## the same figures with the log behind EventStoreDB's protocol
	CGO_ENABLED=0 go run ./internal/facts -data "$(DATA)" -eventstore grpc

facts-moved: ## the same figures after moving house, there and back
	CGO_ENABLED=0 go run ./internal/facts -data "$(DATA)" -eventstore moved

bench: ## docket against the disk, the bare database and PostgreSQL: one table, and bench.json
	CGO_ENABLED=0 go run ./bench -data "$(DATA)" -json bench.json $(if $(ONLY),-only $(ONLY))

bench-quick: ## the same, smaller, in five minutes
	CGO_ENABLED=0 go run ./bench -quick -data "$(DATA)" -json bench.json $(if $(ONLY),-only $(ONLY))

crash: ## POINTS (20000) crash points of the disk, each recovered and compared
	DOCKET_CRASH_POINTS=$(or $(POINTS),20000) CGO_ENABLED=0 go test -count=1 -timeout 3h -run 'CrashPoints|CampaignSees' -v ./internal/crash

kills: ## kill -9 at random and at chosen instants, KILLS (2000) times
	cd systemtest && DOCKET_KILLS=$(or $(KILLS),2000) CGO_ENABLED=0 go test -count=1 -timeout 3h -run Killed -skip OverGRPC -v .

histories: ## HISTORIES (100000) histories of the log, and 200 over HTTP, checked for linearizability
	cd systemtest && DOCKET_STORE_HISTORIES=$(or $(HISTORIES),100000) DOCKET_HISTORIES=200 CGO_ENABLED=0 go test -count=1 -timeout 3h -run Linearizable -skip OverGRPC -v .

grpc: ## everything of the above with the log behind EventStoreDB's protocol: KILLS (500), 200 histories, all tests that can
	cd systemtest && DOCKET_GRPC_KILLS=$(or $(KILLS),500) DOCKET_GRPC_HISTORIES=200 CGO_ENABLED=0 go test -count=1 -timeout 3h -run OverGRPC -v .
	DOCKET_TEST_EVENTSTORE=grpc CGO_ENABLED=0 go test -count=1 -timeout 1h -skip 'StoreThatRefusesWrites|WaitingTakesNoTurn' ./httpapi ./importer ./audit ./reconcile

moves: ## imports of a log killed KILLS (500) times
	DOCKET_TRANSFER_KILLS=$(or $(KILLS),500) CGO_ENABLED=0 go test -count=1 -timeout 2h -run KilledImports -v ./eventstore/transfer

faults: ## FAULTS (10000) schedules of a sick network between docket and its event store
	cd systemtest && DOCKET_FAULTS=$(or $(FAULTS),10000) CGO_ENABLED=0 go test -count=1 -timeout 6h -run FaultsBetween -v .

soak: ## everything at once for SOAK (30m), then verified, reconciled and counted
	cd systemtest && DOCKET_SOAK=$(or $(SOAK),30m) CGO_ENABLED=0 go test -count=1 -timeout 5h -run Soak -v .

overload: ## three times the capacity for OVERLOAD (30) seconds
	cd systemtest && DOCKET_OVERLOAD=$(or $(OVERLOAD),30) CGO_ENABLED=0 go test -count=1 -timeout 1h -run Overload -v .

test-esdb-client: ## the official EventStoreDB client's own tests, against docket eventstore serve
	CGO_ENABLED=0 go run ./internal/esdbclient

planted-bugs: ## which test catches each of the bugs in internal/plantedbugs
	CGO_ENABLED=0 go run ./internal/plantedbugs

fuzz: ## each fuzz target for FUZZTIME (default 30s)
	./internal/fuzz.sh $(or $(FUZZTIME),30s)

.PHONY: help check quick build demo facts facts-grpc facts-moved grpc moves faults bench bench-quick crash kills histories soak overload test-esdb-client planted-bugs fuzz
