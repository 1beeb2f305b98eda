# `make test` is everything that needs no privilege; `make demo` shows the product on carried captures.

CARGO      ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# cargo is often installed for one user only, in a directory that the login shell alone knows.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

.DEFAULT_GOAL := build
.PHONY: build demo test test-columnar dpdk dpdk-test schemathesis setup fmt lint clean

## build: the command, optimised
build: setup
	$(CARGO) build --release -p wiretable

## demo: run the example batches of configs/ over the carried captures and show their answers, then the examples of the control plane
demo: build
	$(CARGO) build --release -p wt-bench
	WIRETABLE=$(TARGET_DIR)/release/wiretable configs/demo.sh

## test: formatting, lints, and every suite, on one optimised build; without Postgres the suites of the database fail instead of being left out
test: export WT_REQUIRE_POSTGRES = 1
test: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	$(CARGO) build --release --workspace
	$(CARGO) nextest run --release --workspace
	$(CARGO) test --release --doc --workspace

## test-columnar: the optional result formats (Arrow, Parquet); apart, as their crates take long to build
test-columnar: setup
	$(CARGO) nextest run --release -p wiretable --features columnar

## dpdk: the command with capture by DPDK, which is installed if it is missing
dpdk:
	.ci/setup dpdk
	$(CARGO) build --release --workspace --bin wiretable --features wiretable/dpdk

## dpdk-test: lints and tests of that; what needs a link needs root
dpdk-test: dpdk
	$(CARGO) clippy --release --workspace --all-targets --features wiretable/dpdk,wt-tests/dpdk -- -D warnings
	$(CARGO) nextest run --release --workspace --features wiretable/dpdk,wt-tests/dpdk --test dpdk
	$(CARGO) nextest run --release -p wt-xdp --features dpdk --lib -E 'test(dpdk::)'

## schemathesis: requests made of the server's OpenAPI description by schemathesis, which is installed under target; none may meet a server error
schemathesis: export WT_REQUIRE_POSTGRES = 1
schemathesis: setup
	python3 -m venv $(TARGET_DIR)/schemathesis
	$(TARGET_DIR)/schemathesis/bin/pip install --quiet 'schemathesis>=4.32,<5'
	WT_SCHEMATHESIS=$(abspath $(TARGET_DIR))/schemathesis/bin/schemathesis $(CARGO) nextest run --release --workspace --test access -E 'test(requests_made_of_the_description)'

## setup: install what is missing (libpcap headers, tcpdump, tshark, PostgreSQL with pgTAP, cargo-nextest)
setup:
	.ci/setup

## fmt: format the tree
fmt:
	$(CARGO) fmt --all

## lint: what `make test` checks before it runs anything
lint: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings

## clean: remove what was built
clean:
	$(CARGO) clean
