# 'make test' needs Go and nothing else. The other targets say what they need.

GO_DIRS  := . interop
FUZZTIME ?= 10s
# Where generated code goes: the tree itself, or a copy to compare it with.
OUT      ?= .

.PHONY: run build test race vet fmt lint browser pictures drill stock drill-figures drill-smoke drill-selftest interop interop-race bench generate fuzz-short deploy-test clean

run: build ## a whole cluster on loopback until q or Ctrl-C; DATA=folder keeps its data
	@bin/nsqctl dev $(if $(DATA),--data-dir='$(DATA)')

build: ## static binaries in bin/
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

test:
	@for name in chromium chromium-browser google-chrome chrome; do command -v $$name >/dev/null && exit; done; \
		echo "no Chromium here: nsqadmin is not tested in a browser (make browser)"
	go test -timeout 10m ./...

race: ## as test, with the race detector (a C compiler)
	CGO_ENABLED=1 go test -race -timeout 15m ./lookupd ./... # the longest first

vet:
	for dir in $(GO_DIRS); do go vet -C $$dir ./... || exit 1; done

fmt: ## lists what gofmt would change, and fails if there is any
	@files=$$(git ls-files '*.go' | xargs gofmt -l) && if [ -n "$$files" ]; then echo "not gofmt'ed:" $$files; exit 1; fi

lint: ## staticcheck, built from what tools/go.mod pins
	for dir in $(GO_DIRS); do (cd $$dir && go tool -modfile=$(CURDIR)/tools/go.mod staticcheck ./...) || exit 1; done

browser: ## nsqadmin in a real browser (Chromium); artefacts/browser has pictures of what it saw
	go test -count=1 -timeout 10m ./nsqadmin/browser -must

pictures: ## docs/pictures: those of the README, of a cluster under traffic (Chromium)
	go test -count=1 -timeout 10m ./nsqadmin/browser -run '^TestPictures$$' -must -pictures=$(CURDIR)/docs/pictures

# Against stock it takes stock's programs, in bin/stock.
DRILL_STOCK := $(filter --against=both --against=stock,$(DRILL))
drill: build $(if $(DRILL_STOCK),stock) ## every drill once, with a report in artefacts/drill; ten minutes (DRILL=--against=both)
	bin/nsqdrill run --profile=standard --out=artefacts/drill/standard $(if $(DRILL_STOCK),--stock-bin-dir=bin/stock) $(DRILL)

stock: ## stock NSQ's nsqlookupd and nsqd, in bin/stock
	cd interop && go build -o $(CURDIR)/bin/stock/ github.com/nsqio/nsq/apps/nsqlookupd github.com/nsqio/nsq/apps/nsqd

REPORT ?= artefacts/drill/standard
drill-figures: ## picture and figures of a drill against both, for README and docs/nsqdrill.md (Chromium; REPORT=folder)
	docs/drill-figures.sh $(REPORT)

# Exit code 2 is a bound in time that was missed: of a machine that does other things
# too, that says little. Whatever is unsafe or undecided fails.
drill-smoke: build ## a minute of drills without rights of root, and another in network namespaces where that is allowed
	bin/nsqdrill run --profile=smoke --env=processes --no-disks --out=artefacts/drill/processes || [ $$? -eq 2 ]
	bin/nsqdrill run --profile=smoke --env=auto --out=artefacts/drill/auto || [ $$? -eq 2 ]

drill-selftest: ## bugs that are put in on purpose: nsqdrill has to find each of them; four minutes
	go test -count=1 -timeout 8m -parallel 2 -v ./internal/drill/selftest -drills

# -count=1: go test cannot see that a binary which it starts has changed, and would
# answer from its cache. -parallel: the tests that say they can run beside others wait
# most of their time.
INTEROP := go test -C interop -count=1 -timeout 14m -parallel 6 ./...
interop: ## stock NSQ against our binaries, as processes
	$(INTEROP)

interop-race: ## as interop, with our daemon built with the race detector (a C compiler)
	$(INTEROP) -race-ours

bench: ## a table of ratios to stock NSQ, in artefacts/ too; a quarter of an hour of both cores (BENCH=-list)
	go run -C interop ./bench $(BENCH)

generate: ## the Go code of the .proto files (protoc)
	go=$$(go tool -modfile=tools/go.mod -n protoc-gen-go) && \
	grpc=$$(go tool -modfile=tools/go.mod -n protoc-gen-go-grpc) && \
	for dir in $$(git ls-files '*.proto' | xargs -n1 dirname | sort -u); do \
		protoc -I $$dir --plugin=protoc-gen-go=$$go --plugin=protoc-gen-go-grpc=$$grpc \
			--go_out=$(OUT) --go_opt=module=nsqraft --go-grpc_out=$(OUT) --go-grpc_opt=module=nsqraft \
			$$dir/*.proto || exit 1; \
	done

# At the end of its time go test may take its own deadline for a failure, which then has
# no input that shows it (golang.org/issue/75804): such a run is made again.
fuzz-short: ## every fuzz target for FUZZTIME
	@log=$$(mktemp) && trap 'rm -f "$$log"' EXIT && \
	for pkg in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		list=$$(go test -list '^Fuzz' $$pkg) || { echo "$$list"; exit 1; }; \
		for target in $$(echo "$$list" | grep '^Fuzz'); do \
			for try in 1 2 3; do \
				echo "$$pkg $$target"; status=0; \
				go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg >"$$log" 2>&1 || status=$$?; \
				cat "$$log"; \
				[ $$status -ne 0 ] && grep -q '^    context deadline exceeded$$' "$$log" && ! grep -q 'Failing input' "$$log" || break; \
			done; \
			[ $$status -eq 0 ] || exit 1; \
		done; \
	done

deploy-test: ## what is in deploy/; without a Docker Engine only the part that needs none
	deploy/test.sh || [ $$? -eq 77 ]

clean:
	rm -rf bin interop/bin
