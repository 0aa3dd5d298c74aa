#!/usr/bin/env bash
# Runs the kazoo suite: python/run.sh [options] host:port[,host:port]. Prepares its own virtual environment on first use.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}
venv=$cache/venv
wanted=$(cat "$here/requirements.txt")

# A Python that can make a virtual environment and reach a package index: several lack one of these modules.
find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" /usr/bin/python3; do
        if "$candidate" -c 'import ssl, venv, ensurepip' >/dev/null 2>&1; then
            echo "$candidate"
            return 0
        fi
    done
    echo "run.sh: no python3 with the modules ssl, venv and ensurepip (Debian: apt-get install python3-venv)" >&2
    return 1
}

prepare() {
    [ "$(cat "$venv/installed" 2>/dev/null)" = "$wanted" ] && return 0
    local python
    python=$(find_python)
    mkdir -p "$cache"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    local attempt
    for attempt in 1 2; do
        if "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2; then
            echo "$wanted" >"$venv/installed"
            return 0
        fi
        echo "run.sh: pip install failed (attempt $attempt)" >&2
    done
    echo "run.sh: could not install: $wanted" >&2
    return 1
}

# The lock keeps two suites that start together from building the same environment.
mkdir -p "$cache"
exec 9>"$cache/venv.lock"
flock 9
prepare
flock -u 9
exec 9>&-
if [ "${1:-}" = "--prepare" ]; then
    exit 0
fi
export PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" "$here/main.py" "$@"
