#!/usr/bin/env bash
# Runs the programs of docs/recipes.md as they stand there: recipes/run.sh [options] host:port. It prepares nothing but what the client
# suites have already (tests/clients/install.sh): kazoo's virtual environment, the JDK and Debian's jars.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}/venv

"$here/../clients/python/run.sh" --prepare
export PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" "$here/main.py" "$@"
