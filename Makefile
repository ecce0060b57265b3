# 'make test' needs Go and nothing else. The other targets say what they need.

GO_DIRS  := . interop
FUZZTIME ?= 10s
# Where generated code goes: the tree itself, or a copy to compare it with.
OUT      ?= .

.PHONY: run build test race vet fmt lint interop interop-race bench generate fuzz-short deploy-test clean

run: ## three nodes and an nsqd on loopback until Ctrl-C; DATA=folder keeps their data
	deploy/local/run.sh

build: ## static binaries in bin/
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

test:
	go test -timeout 10m ./...

race: ## as test, with the race detector (a C compiler)
	go test -race -timeout 15m ./...

vet:
	for dir in $(GO_DIRS); do go vet -C $$dir ./... || exit 1; done

fmt: ## lists what gofmt would change, and fails if there is any
	@files=$$(git ls-files '*.go' | xargs gofmt -l) && if [ -n "$$files" ]; then echo "not gofmt'ed:" $$files; exit 1; fi

lint: ## staticcheck, built from what tools/go.mod pins
	for dir in $(GO_DIRS); do (cd $$dir && go tool -modfile=$(CURDIR)/tools/go.mod staticcheck ./...) || exit 1; done

# -count=1: go test cannot see that a binary which it starts has changed, and would
# answer from its cache.
interop: ## stock NSQ against our binaries, as processes
	go test -C interop -count=1 -timeout 10m ./...

interop-race: ## as interop, with our daemon built with the race detector (a C compiler)
	go test -C interop -count=1 -timeout 10m ./... -race-ours

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

fuzz-short: ## every fuzz target for FUZZTIME
	for pkg in $$(go list ./...); do \
		list=$$(go test -list '^Fuzz' $$pkg) || { echo "$$list"; exit 1; }; \
		for target in $$(echo "$$list" | grep '^Fuzz'); do \
			echo "$$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg || exit 1; \
		done; \
	done

deploy-test: ## what is in deploy/; without a Docker Engine only the part that needs none
	deploy/test.sh || [ $$? -eq 77 ]

clean:
	rm -rf bin interop/bin
