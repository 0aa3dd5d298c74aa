#!/usr/bin/env bash
# Runs the kazoo suite: python/run.sh [options] host:port[,host:port]; or its clients that record a history: python/run.sh --record [options]. Prepares its own virtual environment on first use.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}
venv=$cache/venv
. "$here/venv.sh"

prepare_venv "$venv" "$here/requirements.txt"
if [ "${1:-}" = "--prepare" ]; then
    exit 0
fi
export PYTHONDONTWRITEBYTECODE=1
if [ "${1:-}" = "--record" ]; then
    shift
    exec "$venv/bin/python" "$here/record.py" "$@"
fi
exec "$venv/bin/python" "$here/main.py" "$@"
