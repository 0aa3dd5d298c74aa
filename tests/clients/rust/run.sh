#!/usr/bin/env bash
# Runs the Rust suite: rust/run.sh [options] host:port[,host:port]. Builds it into the cache on first use.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}
target=$cache/rust-suite

cargo build --quiet --locked --manifest-path "$here/Cargo.toml" --target-dir "$target" >&2
[ "${1:-}" != --prepare ] || exit 0
exec "$target/debug/rust-suite" "$@"
