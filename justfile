# What there is to run. `just` lists it.

default:
    @just --list

# Quantize, run and score the embedded model
demo:
    cargo run --release -p quantc -- demo

# The default tests
test:
    cargo test --workspace

# Formatting and lints
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Accept changed snapshots (read the diff first)
bless:
    INSTA_UPDATE=always QUANTC_BLESS=1 cargo test --workspace

# Benchmarks of kernels and of rewriting
bench:
    cargo bench -p quantc-kernels-x86
    cargo bench -p quantc-rewrite

# The tests that take minutes: every model on all of its data, thousands of random networks
long:
    cargo test --workspace --test real_models --test onnx_scores --test random_networks -- --ignored

# Tests on AArch64 under qemu
arm:
    .ci/arm

# API documentation
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Check every rule and backend, and run the file tests
patterns:
    cargo run -p quantc -- patterns check
    cargo run -p quantc -- patterns test tests

# Fuzz one target: text, onnx, qpat, qtc, description, mapping, npy
fuzz target="onnx" seconds="60":
    cd fuzz && cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}

# Everything CI runs
ci:
    .ci/run
