#!/usr/bin/env bash
# Runs the Node suite: node/run.sh [options] host:port[,host:port]. Installs node-zookeeper-client into the cache on first use.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}

for program in node npm; do
    command -v "$program" >/dev/null || { echo "node/run.sh: $program is missing (run tests/clients/install.sh)" >&2; exit 2; }
done

stamp=$(cat "$here/package.json" "$here/package-lock.json" | sha256sum | cut -c1-16)
modules=$cache/node-$stamp

# Built beside its place and moved there, so that two suites that start together do not see half of it.
prepare() {
    [ ! -d "$modules" ] || return 0
    mkdir -p "$cache"
    local building
    building=$(mktemp -d "$cache/node-building.XXXXXX")
    cp "$here/package.json" "$here/package-lock.json" "$building"
    local attempt
    for attempt in 1 2; do
        if (cd "$building" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2); then
            mv -T "$building" "$modules" 2>/dev/null || rm -rf "$building"
            return 0
        fi
        echo "node/run.sh: npm ci failed (attempt $attempt)" >&2
    done
    rm -rf "$building"
    return 1
}

prepare
[ "${1:-}" != --prepare ] || exit 0
NODE_PATH=$modules/node_modules exec node "$here/main.js" "$@"
