#!/usr/bin/env bash
# Runs kazoo's own test suite with servers of RingKeeper or of the real ZooKeeper, in place of the Java servers that the suite starts.
# Owns its virtual environment and kazoo's source distribution in the cache; kazoo_suite.py beside it runs and judges.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
cache=${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}
KAZOO=$(sed -n 's/^kazoo==//p' "$here/kazoo-requirements.txt")
venv=$cache/kazoo-suite-$KAZOO

usage() {
    cat <<'END'
Run kazoo's own test suite against one server or an ensemble, and compare each outcome with the one that kazoo-<version>.expected
names, or with kazoo-<version>-ensemble.expected.

usage: kazoo-suite.sh [options] [MODULE…] [-- PYTEST-ARGUMENTS]
  MODULE                test_lock, test_queue, …; without any, all of them
  --ringkeeper BINARY   the server; without it, ZooKeeper 3.9.5 (tests/reference/java-server.sh prepares it)
  --servers N           servers that the suite starts, and stops where a test wants it: 1 (default), or an ensemble of 3 or more
  --jobs N              modules that run side by side, each with servers of their own; most of their time is sleep (default 1)
  --core                only the part that CI runs: without the handlers for other event loops and without tests that need a fast machine
  --out FILE            each test and its outcome, sorted
  --logs DIR            what pytest and the servers said, a file a module (default: thrown away, but for the modules that failed)
  --port N              where the search for free ports begins (default 20000)
  --prepare             only install what the suite needs, and end
  --help                this text
The last line is `N passed, N failed`: a test with its expected outcome counts as passed, an unexpected pass as failed. Exit code 1 where any failed.

examples:
  tests/foreign/kazoo-suite.sh --ringkeeper target/release/ringkeeper --jobs 3
  tests/foreign/kazoo-suite.sh --ringkeeper target/release/ringkeeper --servers 3
  tests/foreign/kazoo-suite.sh --out /tmp/java.txt
  tests/foreign/kazoo-suite.sh --ringkeeper target/release/ringkeeper test_lock test_client -- -k semaphore
END
}

. "$top/tests/clients/python/venv.sh"

# The tests themselves are in the source distribution only.
fetch_tests() {
    "$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary kazoo --dest "$venv" "kazoo==$KAZOO" >&2 \
        && tar -xf "$venv/kazoo-$KAZOO.tar.gz" -C "$venv"
}

binary='' only_prepare='' servers=1 arguments=()
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage; exit 0 ;;
    --core) arguments+=("$1") ;;
    --prepare) only_prepare=1 ;;
    --ringkeeper | --servers | --jobs | --out | --logs | --port)
        [ $# -ge 2 ] || { usage >&2; exit 2; }
        case $1 in
        --ringkeeper) binary=$(realpath -e "$2") ;;
        --servers)
            [[ $2 =~ ^[13579]$ ]] || { usage >&2; exit 2; }
            servers=$2 arguments+=("$1" "$2") ;;
        *) arguments+=("$1" "$2") ;;
        esac
        shift ;;
    --) break ;;
    -*) usage >&2; exit 2 ;;
    *) arguments+=("$1") ;;
    esac
    shift
done

prepare_venv "$venv" "$here/kazoo-requirements.txt" fetch_tests
[ -z "$only_prepare" ] || exit 0

if [ -n "$binary" ]; then
    server=ringkeeper
    shim=$(mktemp -d)
    trap 'rm -rf "$shim"' EXIT
    ln -s "$here/java-shim.sh" "$shim/java"
    export PATH=$shim:$PATH RINGKEEPER_BINARY=$binary
else
    server=zookeeper
    "$top/tests/reference/java-server.sh" --prepare >/dev/null
fi
export ZOOKEEPER_VERSION=3.9.5 ZOOKEEPER_CLUSTER_SIZE=$servers ZOOKEEPER_PATH=$cache/zookeeper-3.9.5 PYTHONDONTWRITEBYTECODE=1
expected=$here/kazoo-$KAZOO.expected
[ "$servers" = 1 ] || expected=$here/kazoo-$KAZOO-ensemble.expected
# It ends with this shell, however that ends, and its modules with it.
setpriv --pdeathsig KILL "$venv/bin/python" "$here/kazoo_suite.py" --server "$server" --sources "$venv/kazoo-$KAZOO" \
    --expected "$expected" "${arguments[@]}" "$@"
