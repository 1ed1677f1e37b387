# The two commands: `make demo` and `make test`. Both do all the set-up on a fresh Debian or Ubuntu machine.
CARGO ?= cargo
.PHONY: demo test test-kubernetes lint build images bench fuzz docs deny help

help: ## these lines
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

demo: ## set up, build, and walk through the mesh on this machine
	@scripts/setup.sh demo
	@echo "==> building (a few minutes the first time)"
	$(CARGO) build --workspace --bins
	target/debug/weft demo $(DEMO)

test: ## set up, check style and lints, run all tests
	@scripts/setup.sh test
	@scripts/test.sh

test-kubernetes: ## scenarios on a real cluster of two nodes, made here; WEFT_TEST_CONTEXT=NAME: on yours
	@[ -n "$(WEFT_TEST_CONTEXT)" ] || scripts/setup.sh kubernetes
	@tests/kubernetes/run.sh

build: ## release binaries under target/release
	$(CARGO) build --release --workspace --bins

images: ## image archives under target/images, without a container engine; TAG=0.1.0
	@scripts/setup.sh images
	@scripts/images.sh release $(TAG)

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

deny: ## licences, advisories, duplicate dependencies (needs cargo-deny)
	$(CARGO) deny check

bench: ## load comparison against the real Envoy and HAProxy; WORKLOADS="w1 w2" ROUNDS=3
	@scripts/setup.sh bench
	@benches/load/make.sh

fuzz: ## fuzz targets, SECONDS_EACH=60
	@fuzz/run.sh
