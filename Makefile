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

facts-production: ## the same figures with the views in Elasticsearch and Redis
	CGO_ENABLED=0 go run ./internal/facts -data "$(DATA)" -views production

bench: ## docket against the disk, the bare database and PostgreSQL: one table, and bench.json
	CGO_ENABLED=0 go run ./bench -data "$(DATA)" -json bench.json $(if $(ONLY),-only $(ONLY))

bench-quick: ## the same, smaller; ONLY=name,name asks some questions alone
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

# What runs for long pays for Elasticsearch's second compiler.
facts-production views token-reads takeovers foreign rebuild-load rebuild-kills differences: \
  export DOCKET_TEST_ELASTICSEARCH_OPTIONS = -XX:TieredStopAtLevel=4

views: ## QUESTIONS (50000) to SQLite, Elasticsearch and Redis over all of DATA, answered alike
	cd systemtest && DOCKET_QUESTIONS=$(or $(QUESTIONS),50000) DOCKET_DATA_SETS="$(abspath $(DATA))" CGO_ENABLED=0 go test -count=1 -timeout 3h -run ViewsAgree -v .

token-reads: ## READS (100000) with a token under concurrent writes, on each store of views
	cd systemtest && DOCKET_TOKEN_READS=$(or $(READS),100000) CGO_ENABLED=0 go test -count=1 -timeout 2h -run TokenReads -v .

takeovers: ## KILLS (500) of one of three dockets that share the lanes: killed or stopped
	cd systemtest && DOCKET_TAKEOVERS=$(or $(KILLS),500) CGO_ENABLED=0 go test -count=1 -timeout 6h -run Takeovers -v .

sick-views: ## FAULTS (1000) of Elasticsearch and Redis under docket, and SCHEDULES (10000) in virtual time
	DOCKET_SCHEDULES=$(or $(SCHEDULES),10000) CGO_ENABLED=0 go test -count=1 -timeout 1h -run InVirtualTime -v ./projections
	cd systemtest && DOCKET_VIEW_FAULTS=$(or $(FAULTS),1000) CGO_ENABLED=0 go test -count=1 -timeout 12h -run SickViews -v .

foreign: ## DEEDS (1000) of another program in the index and the keys, each found and repaired
	DOCKET_FOREIGN=$(or $(DEEDS),1000) CGO_ENABLED=0 go test -count=1 -timeout 2h -run ForeignWriter -v ./reconcile

nodes: ## the conformance suite on three nodes of Elasticsearch
	DOCKET_TEST_ELASTICSEARCH_NODES=3 DOCKET_TEST_ELASTICSEARCH_SHARDS=3 CGO_ENABLED=0 go test -count=1 -timeout 1h -run TestConformance -v ./projections/elastic

rebuild-load: ## a rebuild of all of DATA, its switch and rollback under load, on SQLite and on Elasticsearch and Redis
	cd systemtest && DOCKET_REBUILD_DATA="$(abspath $(DATA))" CGO_ENABLED=0 go test -count=1 -timeout 3h -run RebuildUnderLoad -v .

rebuild-kills: ## rebuilds killed, stopped and cancelled KILLS (2000) times, and 2000 schedules in virtual time
	DOCKET_REBUILDS=2000 CGO_ENABLED=0 go test -count=1 -timeout 2h -run RebuildsEndAnywhere -v ./projections
	cd systemtest && DOCKET_REBUILD_KILLS=$(or $(KILLS),2000) CGO_ENABLED=0 go test -count=1 -timeout 6h -run RebuildKilled -v .

differences: ## what a rebuild changes: REBUILDS (200) without a change under traffic, and ten planted bugs on every store
	DOCKET_TEST_DIFFERENCES=1 CGO_ENABLED=0 go test -count=1 -timeout 1h -run 'PlantedProjectorBugs' -v ./projections
	DOCKET_TEST_DIFFERENCES=$(or $(REBUILDS),200) CGO_ENABLED=0 go test -count=1 -timeout 2h -run 'EqualGenerationsUnderTraffic' -v ./projections
	cd systemtest && DOCKET_EMPTY_DIFFERENCES=$(or $(REBUILDS),200) CGO_ENABLED=0 go test -count=1 -timeout 3h -run DifferencesUnderTraffic -v .

rolling-update: ## three dockets exchanged one by one for those of another version, and back
	cd systemtest && CGO_ENABLED=0 go test -count=1 -timeout 1h -run 'RollingUpdate|StoryOfABugFix' -v .

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

.PHONY: help check quick build demo facts facts-grpc facts-moved facts-production grpc moves faults bench bench-quick crash kills histories soak views token-reads takeovers sick-views foreign nodes rebuild-load rebuild-kills differences rolling-update overload test-esdb-client planted-bugs fuzz
