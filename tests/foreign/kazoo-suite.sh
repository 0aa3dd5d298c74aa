#!/usr/bin/env bash
# Runs kazoo's own test suite with one server, RingKeeper or the real ZooKeeper, in place of the Java server that the suite starts.
# Owns its virtual environment and kazoo's source distribution in the cache. Every test's outcome goes to --out, so that two runs compare.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
cache=${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}
KAZOO=2.11.0

usage() {
    cat <<'END'
Run kazoo's own test suite against one server.

usage: kazoo-suite.sh [options] [PYTEST-ARGUMENTS]
  --ringkeeper BINARY   the server; without it, ZooKeeper 3.9.5 (tests/reference/java-server.sh prepares it)
  --out FILE            each test and its outcome, sorted
  --port N              of the first port used, default 20000
  --jaas                with ZOOKEEPER_JAAS_AUTH=digest: only the SASL tests make sense then
  --help                this text

examples:
  tests/foreign/kazoo-suite.sh --out /tmp/java.txt
  tests/foreign/kazoo-suite.sh --ringkeeper target/release/ringkeeper --out /tmp/ours.txt && diff /tmp/java.txt /tmp/ours.txt
  tests/foreign/kazoo-suite.sh --ringkeeper target/release/ringkeeper -k test_lock
END
}

binary='' out=/dev/null port=20000 rest=()
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage; exit 0 ;;
    --ringkeeper) binary=$(realpath "$2"); shift ;;
    --out) out=$2; shift ;;
    --port) port=$2; shift ;;
    --jaas) export ZOOKEEPER_JAAS_AUTH=digest ;;
    *) rest+=("$1") ;;
    esac
    shift
done

venv=$cache/kazoo-suite-$KAZOO
if [ ! -e "$venv/complete" ]; then
    rm -rf "$venv"
    python=python3
    for candidate in python3 /usr/bin/python3; do
        "$candidate" -c 'import ssl, venv, ensurepip' >/dev/null 2>&1 && python=$candidate && break
    done
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
        "kazoo==$KAZOO" pytest==8.4.2 pytest-timeout==2.4.0 pyjks==20.0.0 pyopenssl==25.3.0 objgraph==3.6.2 gevent==25.9.1 eventlet==0.40.3 pure-sasl==0.6.2 >&2
    "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary kazoo \
        --dest "$venv" "kazoo==$KAZOO" >&2
    tar -xf "$venv/kazoo-$KAZOO.tar.gz" -C "$venv"
    touch "$venv/complete"
fi

export ZOOKEEPER_VERSION=3.9.5 ZOOKEEPER_CLUSTER_SIZE=1 ZOOKEEPER_PORT_OFFSET=$port ZOOKEEPER_PATH=$cache/zookeeper-3.9.5
if [ -n "$binary" ]; then
    shim=$(mktemp -d)
    trap 'rm -rf "$shim"' EXIT
    ln -s "$here/java-shim.sh" "$shim/java"
    export PATH=$shim:$PATH RINGKEEPER_BINARY=$binary
else
    "$top/tests/reference/java-server.sh" --prepare >/dev/null
fi

work=$(mktemp -d)
trap 'rm -rf "$work" "${shim:-$work}"' EXIT
code=0
(cd "$venv/kazoo-$KAZOO" && "$venv/bin/python" -m pytest -q -p no:cacheprovider --timeout 120 -rN --junitxml "$work/junit.xml" \
    "${rest[@]:-kazoo/tests}") || code=$?
"$venv/bin/python" - "$work/junit.xml" >"$out" <<'END'
import sys
import xml.etree.ElementTree as tree

for case in sorted(tree.parse(sys.argv[1]).iter("testcase"), key=lambda c: (c.get("classname"), c.get("name"))):
    kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
    print(case.get("classname"), case.get("name"), *(sorted(kinds) or ["passed"]))
END
exit "$code"
