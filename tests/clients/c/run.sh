#!/usr/bin/env bash
# Runs the C client's suite and the shells that come with ZooKeeper (cli_mt on the C client, zkCli.sh on the Java client).
# See c/run.sh --help.
set -euo pipefail
trap '' PIPE # a shell that ended early is a failed check, not the end of this script
here=$(cd "$(dirname "$0")" && pwd)
cache=${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}

usage() {
    cat <<'END'
Check that the unmodified C client, cli_mt and zkCli.sh work against a ZooKeeper server.

usage: run.sh [options] host:port[,host:port]
  --super USER:PASSWORD  also check the super user
  --no-extended-types    the server runs without extendedTypesEnabled: TTL nodes are expected to be refused
  --timeout SECONDS      the watchdog (default 120)
  --only TEXT            only checks whose name contains TEXT
  --help                 this text
END
}

hosts='' timeout=120 only='' program_arguments=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage; exit 0 ;;
    --super | --only | --timeout)
        [ $# -ge 2 ] || { usage >&2; exit 2; }
        case $1 in
        --timeout) timeout=$2 ;;
        --only) only=$2; program_arguments+=("$1" "$2") ;;
        *) program_arguments+=("$1" "$2") ;;
        esac
        shift ;;
    --no-extended-types) program_arguments+=("$1") ;;
    --reference-3.8) ;; # makes no difference here; all.sh passes it to every suite
    -*) usage >&2; exit 2 ;;
    *) [ -z "$hosts" ] || { usage >&2; exit 2; }; hosts=$1 ;;
    esac
    shift
done
[ -n "$hosts" ] || { usage >&2; exit 2; }

command -v gcc >/dev/null || { echo "c/run.sh: gcc is missing (run tests/clients/install.sh)" >&2; exit 2; }
[ -e /usr/include/zookeeper/zookeeper.h ] || { echo "c/run.sh: libzookeeper-mt-dev is missing (run tests/clients/install.sh)" >&2; exit 2; }

deadline=$((SECONDS + timeout))
passed=0 failed=0

report() { # name [reason]
    if [ $# -eq 1 ]; then
        passed=$((passed + 1))
        echo "ok $1"
    else
        failed=$((failed + 1))
        echo "FAIL $1: ${*:2}"
    fi
}

selected() { [[ $1 == *"$only"* ]]; }

left() { # seconds before the watchdog, at least one
    local seconds=$((deadline - SECONDS))
    echo $((seconds > 1 ? seconds : 1))
}

compile() {
    local stamp binary building
    stamp=$(cat "$here"/*.c "$here"/*.h | sha256sum | cut -c1-16)
    binary=$cache/c-suite-$stamp
    if [ ! -x "$binary" ]; then
        mkdir -p "$cache"
        building=$(mktemp "$cache/c-building.XXXXXX")
        gcc -std=gnu11 -O1 -g -Wall -Wextra -o "$building" "$here"/*.c -lzookeeper_mt -lpthread
        mv "$building" "$binary"
    fi
    echo "$binary"
}

# The program prints a line per check; a crash or a hang is a failure of its own.
run_program() {
    local binary line code=0 output
    binary=$(compile)
    output=$(mktemp)
    timeout --kill-after=2 "$(left)" "$binary" "${program_arguments[@]}" "$hosts" 2>/dev/null | tee "$output" || code=${PIPESTATUS[0]}
    passed=$((passed + $(grep -c '^ok ' "$output" || true)))
    failed=$((failed + $(grep -c '^FAIL ' "$output" || true)))
    rm -f "$output"
    case $code in
    0 | 1) ;;
    124 | 137) report c_program "the watchdog ended it" ;;
    *) report c_program "it ended with exit code $code" ;;
    esac
}

# Send cli_mt a line and read its output until a line matches the pattern; false when none does before the watchdog.
cli_mt_ask() {
    local line
    [ -z "$1" ] || echo "$1" >&"$cli_in"
    while IFS= read -r -t "$(left)" line <&"$cli_out"; do
        cli_seen+=" | $line"
        [[ $line =~ $2 ]] && return 0
    done
    return 1
}

run_cli_mt() {
    local name=cli_mt_create_set_get_delete shell=/usr/lib/zookeeper/bin/cli_mt path cli_in cli_out cli_seen='' process
    selected $name || return 0
    if [ ! -x $shell ]; then
        report $name "$shell is missing (run tests/clients/install.sh)"
        return 0
    fi
    path=/cli-mt-$$-$(date +%s%N)
    # Line-buffered, since each command waits for the former's answer. Descriptors of our own outlive the coprocess.
    coproc CLI { exec timeout --kill-after=2 "$(left)" stdbuf -oL $shell "$hosts" 2>&1; }
    process=$CLI_PID
    exec {cli_out}<&"${CLI[0]}" {cli_in}>&"${CLI[1]}"
    if cli_mt_ask '' CONNECTED_STATE && cli_mt_ask "create $path" "^\[$path\]: rc = 0" && cli_mt_ask "set $path hello" ': rc = 0' &&
        cli_mt_ask "get $path" '^ *value_len = 5' && cli_mt_ask '' '^hello$' && cli_mt_ask "delete $path" "^$path: rc = 0" &&
        cli_mt_ask "exists $path" "^Error -101 for $path"; then
        report $name
    else
        report $name "it printed$cli_seen"
    fi
    echo quit >&"$cli_in" 2>/dev/null || true
    exec {cli_in}>&- {cli_out}<&-
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
}

# zkCli.sh runs one line after another and prints what each answers, on one stream or the other.
run_zk_cli() {
    local shell=/usr/share/zookeeper/bin/zkCli.sh path=/zkcli-$$-$(date +%s%N) output
    selected zkcli_create_get_ls_set_delete || return 0
    if [ ! -e $shell ]; then
        report zkcli_create_get_ls_set_delete "$shell is missing (run tests/clients/install.sh)"
        return 0
    fi
    output=$(timeout --kill-after=2 "$(left)" bash $shell -server "$hosts" 2>&1 <<END || true
create $path hello
get $path
create $path/child
ls $path
set $path goodbye
get $path
stat $path
delete $path/child
delete $path
get $path
quit
END
    )
    local wanted got
    wanted=$(printf '%s\n' "Created $path" hello "Created $path/child" "[child]" goodbye "dataVersion = 1" "dataLength = 7" "numChildren = 1" "Node does not exist: $path")
    got=$(grep -xF -e "Created $path" -e hello -e "Created $path/child" -e "[child]" -e goodbye -e "dataVersion = 1" \
        -e "dataLength = 7" -e "numChildren = 1" -e "Node does not exist: $path" <<<"$output" || true)
    if [ "$got" = "$wanted" ]; then
        report zkcli_create_get_ls_set_delete
    else
        report zkcli_create_get_ls_set_delete "it printed $(tail -n 30 <<<"$output" | tr '\n' ' ')"
    fi
}

run_program
run_cli_mt
run_zk_cli
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
