#!/usr/bin/env bash
# Runs every client suite against a server and sums up.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() {
    cat <<'END'
Check that unmodified ZooKeeper clients (kazoo, Java, Curator, C and the shells, Node) work against a server.

usage: all.sh [options] host:port[,host:port]
  --super USER:PASSWORD  also check the super user
  --no-extended-types    the server runs without extendedTypesEnabled: TTL nodes are expected to be refused
  --reference-3.8        the server is ZooKeeper 3.8 itself: leave out what only 3.9 does
  --timeout SECONDS      the watchdog of each suite (default 120)
  --only TEXT            only checks whose name contains TEXT
  --suites LIST          only these suites, separated by commas (default: python,java,curator,c,node). java-3.9.5 and
                         curator-3.9.5 are those with ZooKeeper's client 3.9.5 and Curator 5.9 in place of Debian's 3.8.0
                         and 5.4; there is rust too, which must be compiled first
  --help                 this text
Prints each suite's lines with its name before them; the last line sums up. Exit code 1 where any check failed.
END
}

suites=python,java,curator,c,node only='' arguments=() hosts=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage; exit 0 ;;
    --suites | --super | --timeout | --only)
        [ $# -ge 2 ] || { usage >&2; exit 2; }
        case $1 in
        --suites) suites=$2 ;;
        *)
            [ "$1" != --only ] || only=$2
            arguments+=("$1" "$2") ;;
        esac
        shift ;;
    --no-extended-types | --reference-3.8) arguments+=("$1") ;;
    -*) usage >&2; exit 2 ;;
    *) [ -z "$hosts" ] || { usage >&2; exit 2; }; hosts=$1 ;;
    esac
    shift
done
[ -n "$hosts" ] || { usage >&2; exit 2; }

passed=0 failed=0 broken=''
for suite in ${suites//,/ }; do
    output=$(mktemp)
    code=0
    version=()
    [ "$suite" = "${suite%%-*}" ] || version=(--client "${suite#*-}")
    "$here/${suite%%-*}/run.sh" "${version[@]}" "${arguments[@]}" "$hosts" | tee "$output" | sed -u "s/^/$suite: /" || code=${PIPESTATUS[0]}
    last=$(tail -n 1 "$output")
    rm -f "$output"
    if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
        # With --only a suite may have nothing to run; otherwise that is a failure.
        if [ "$code" -ne 0 ] && [ "${BASH_REMATCH[2]}" -eq 0 ] && ! { [ -n "$only" ] && [ "${BASH_REMATCH[1]}" -eq 0 ]; }; then
            broken+=" $suite"
        fi
    else
        broken+=" $suite"
    fi
done
[ -z "$broken" ] || echo "FAIL suites that did not run to their end:$broken"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ -z "$broken" ] && [ "$passed" -gt 0 ]
