.DEFAULT_GOAL := help
# Tests that need more than Rust, or much time: each has a target of its own.
BY_NAME := interop clients faults rollout slow_clients memory tls_scan throughput
.PHONY: help run test chart interop clients faults rollout slow memory tls-scan bench fuzz image image-test lint deny \
	advisories workflows fmt doc ci clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

run: ## Start the sandbox: SMTP on 2587 and 2465, inbox on http://127.0.0.1:8080/
	cargo run --quiet -- sandbox

test: ## Run all tests; needs nothing but Rust
	cargo test

chart: ## Check the Helm chart, and that its checks find planted mistakes; needs python3
	bash helm/tests/run.sh

interop: ## Compare with Python on messages that others collected; needs python3 and its testsuite
	cargo test --test interop -- --nocapture

clients: ## Send through the release binary with curl, Python and lettre; needs curl and python3
	cargo test --release --test clients

faults: ## Count what is lost and what comes twice, through faults, with the release binary
	cargo test --release --test faults -- --nocapture --test-threads=1

rollout: ## Replace two gateways behind a balancer while 200 messages a second are sent
	cargo test --release --test rollout -- --nocapture

slow: ## Keep 9 900 slow clients connected while others send, with the release binary
	cargo test --release --test slow_clients -- --nocapture

memory: ## Send 200 messages of 25 MiB at once to the release binary, bounded to 256 MiB
	cargo test --release --test memory -- --nocapture

tls-scan: ## Look for weaknesses of TLS on both ports of the release binary; needs testssl
	cargo test --release --test tls_scan -- --nocapture

bench: ## Measure messages a second and their cost, with the release binary
	cargo test --release --test throughput -- --nocapture

fuzz: ## Look for inputs that break a parser, SECONDS_EACH (60) a target; needs cargo-fuzz
	bash .ci/fuzz

image: ## Build the container image; needs docker, podman or buildah
	bash deployment/docker/build.sh

image-test: ## Test the container image: run it as Kubernetes would, send through it, stop it
	bash deployment/docker/test.sh

lint: ## Check format, lints and documentation; warnings are errors
	cargo fmt --check
	cargo clippy --all-targets $(BY_NAME:%=--test %) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --quiet

deny: ## Hold the crates below against deny.toml: licences, sources, duplicates; needs cargo-deny
	bash .ci/deny bans licenses sources

advisories: ## Ask whether one of them is known to be weak; needs cargo-deny and github.com
	bash .ci/deny advisories

workflows: ## Look for holes in .github, and for checks that it leaves out; needs zizmor
	bash .github/scripts/check.sh

fmt: ## Format the code
	cargo fmt

doc: ## Build the documentation of the code
	cargo doc --no-deps --document-private-items

ci: ## What a change must pass
	bash .ci/run

clean: ## Remove what was built
	cargo clean
