# make            what there is to make
# make test       vet, all tests, the race detector
# make lint       golangci-lint at the version below, fetched once
GO       ?= go
BIN      := $(CURDIR)/.bin
LINTER   := v2.15.0
FUZZTIME ?= 5s
CC       ?= cc

# What shares memory between goroutines; machines are sequential by design. Long lists of scenarios add nothing here:
# they run without the race detector.
LISTS := AttackScenarios|VendorList|FieldReports|Releases|Presence|PowerCuts|Capacity|Plans|PingsThatAreCounted|AttacksAreDeterministic|EveryFaultHas|AnAttackFires|EveryCheckerCatches
RACE := ./sim ./sim/live ./sim/serve ./sim/kernel ./sim/network ./sim/report ./sim/trace ./cloud ./cloud/broker/...

.PHONY: help build test race lint vectors compat clients bench bench-days bench-fleet bench-live bench-plan predict fuzz mutants explore-long campaign coverage-totals check-long clean

help:
	@sed -n 's/^# //p' Makefile | head -3
	@echo "make build | race | vectors [VECTORS=DIR] | compat | clients | bench | bench-fleet [DEVICES=2000] | bench-days [DEVICES=100000] | bench-live | bench-plan [RUNS=64] | predict | fuzz [FUZZTIME=5s] | mutants | explore-long | campaign | check-long | clean"

build:
	$(GO) build -trimpath -o otasim .

test:
	$(GO) vet ./...
	$(GO) test ./...
	@$(MAKE) --no-print-directory race

race:
	@if command -v $(firstword $(CC)) >/dev/null 2>&1; then \
		echo "$(GO) test -race -skip '$(LISTS)' $(RACE)"; CGO_ENABLED=1 $(GO) test -race -skip '$(LISTS)' $(RACE); \
	else \
		echo "race detector: SKIPPED, there is no C compiler ($(CC))"; \
	fi

lint: $(BIN)/golangci-lint-$(LINTER)
	$< run ./...

$(BIN)/golangci-lint-$(LINTER):
	mkdir -p $(BIN)
	GOBIN=$(BIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINTER)
	mv $(BIN)/golangci-lint $@

vectors:
	$(GO) run ./sim/vectors/cmd/vectors $(if $(VECTORS),-dir "$(VECTORS)")

# The AWS SDK for Go as a client: a module of its own, which needs the network once.
compat:
	@cd test/compat && if $(GO) mod download >/dev/null 2>&1; then \
		echo "$(GO) test ./... (test/compat)"; $(GO) vet ./... && $(GO) test ./...; \
	else \
		echo "compat: SKIPPED, the AWS SDK cannot be downloaded"; \
	fi

# Clients that others wrote, against otasim serve. Each script says what it skips.
clients:
	test/awscli/run.sh
	test/mosquitto/run.sh
	test/npm/run.sh

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# A rollout over three days to devices that are always connected, in virtual time: minutes.
bench-days:
	OTASIM_BENCH_DEVICES=$(or $(DEVICES),100000) $(GO) test -run '^$$' -bench 'ThreeDays$$' -benchtime 1x -timeout 60m ./sim

# paho devices over mutual TLS against the embedded broker, and bare paho against bare mochi.
bench-fleet:
	OTASIM_BENCH_DEVICES=$(or $(DEVICES),2000) $(GO) test -run '^$$' -bench LiveFleet -benchtime 1x -timeout 30m -v ./sim
# serve under the load of many devices: some minutes, exit status 4 when there are too
# few file descriptors.
BENCH_LIVE_CLIENTS ?= 5000
BENCH_LIVE_IMAGE ?= 1048576
bench-live:
	@mkdir -p $(BIN) && $(GO) build -o $(BIN)/load ./sim/serve/load
	@$(BIN)/load -clients $(BENCH_LIVE_CLIENTS) -image $(BENCH_LIVE_IMAGE)

# The whole plan of 64 runs of 1,000 devices with 1 MiB, two at a time: wall and CPU seconds.
bench-plan:
	OTASIM_BENCH_RUNS=$(or $(RUNS),64) $(GO) test -run '^$$' -bench 'Plan$$' -benchtime 1x -timeout 30m -v ./sim

# Predictions in virtual time against measurements on sockets.
predict:
	$(GO) run ./sim/predict $(if $(DEVICES),-devices $(DEVICES))

# Every fuzz target for FUZZTIME.
fuzz:
	@set -e; ran=0; \
	for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
		targets=$$($(GO) test -list '^Fuzz' $$dir) || { echo "$$targets"; exit 1; }; \
		for target in $$(echo "$$targets" | grep '^Fuzz'); do \
			echo "$$dir $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$dir; \
			ran=$$((ran + 1)); \
		done; \
	done; \
	echo "$$ran fuzz targets, $(FUZZTIME) each"; test $$ran -gt 0

# Counts the rows of the table of AWS's operations and rules, and writes the line that says how many.
coverage-totals:
	@line=$$(awk -F'|' '/^\|/ { if ($$3 ~ /^ *exact/) e++; else if ($$3 ~ /^ *partial/) p++; else if ($$3 ~ /^ *absent/) a++ } \
		END { printf "Rows: %d exact, %d partial, %d absent.", e, p, a }' docs/aws-coverage.md); \
	sed -i.old "s/^Rows: .*/$$line/" docs/aws-coverage.md && rm docs/aws-coverage.md.old && echo "$$line"

# Every planted defect of device/defect and cloud/defect: which checker notices, after how many cases.
mutants:
	$(GO) run ./sim/explore/cmd/mutants

# More than a million explored cases of the correct system: any alarm is a false one. STATE=FOLDER keeps the progress.
explore-long:
	$(GO) run ./sim/explore/cmd/million $(if $(STATE),-state "$(STATE)")

# Complete sweeps that take too long for every push.
check-long:
	OTASIM_LONG=1 $(GO) test -timeout 6h ./...

# Ten minutes of otasim explore with the coverage of named states; CAMPAIGN=20m is another budget. Interrupted, it goes on.
CAMPAIGN ?= 10m
campaign:
	@mkdir -p $(BIN)
	$(GO) run . explore sim/explore/trials/campaign.yaml --for $(CAMPAIGN) --state $(BIN)/campaign.json --out $(BIN)/campaign

clean:
	rm -rf otasim $(BIN)
