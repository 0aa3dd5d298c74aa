#!/usr/bin/env bash
# Java ZooKeeper and RingKeeper side by side: both servers pinned to one core, the load on another, the figures as Markdown and
# JSON. It owns the two servers it starts and the files below --data, and ends both by their ids, whatever happens. It must never
# touch a server or a directory that it did not make. Fails with exit code 2 for a usage error, else as rkbench does.
set -euo pipefail

REPO=$(cd "$(dirname "$0")/.." && pwd)
RINGKEEPER=
RKBENCH=
JAVA_VERSION=3.9.5
HEAP=1g
DATA=
OUT=
SERVER_CPU=0
LOAD_CPU=1
ROUNDS=5
DURATION=5
PREWARM=20
EQUAL_LOAD=0.7
PORT=32181
EXTRA=()
CFG_LINES=()

usage() {
  cat <<'HELP'
Java ZooKeeper and RingKeeper side by side, each pinned to the same core and idle while the other is measured.

usage: bench/compare-java.sh [--ringkeeper BINARY] [options] [-- RKBENCH-COMPARE-OPTIONS]

  --ringkeeper BINARY  the server to compare; without it, Java is only compared with itself
  --rkbench BINARY     the load generator; built in release mode if not given
  --java-version V     3.9.5 (default) or 3.8.0, see tests/reference/java-server.sh
  --heap SIZE          of the JVM, default 1g
  --data DIR           where both servers keep their data, each below it; made if absent, else it must be empty.
                       Default: a new directory in /tmp, deleted at the end
  --out DIR            where compare.md, compare.json and the servers' logs go, default: the directory of --data
  --cfg LINE           one more zoo.cfg line for RingKeeper, repeatable
  --server-cpu N       default 0
  --load-cpu N         default 1
  --rounds N           per row and server, default 5
  --duration S         seconds per run, default 5
  --equal-load SHARE   of the slower server's best, for the open-loop table, default 0.7; 0: none
  --port N             Java's client port, RingKeeper's is the next one; default 32181
  --quick              a look, no figures to publish: 3 rounds of 2 s, three rows, no open loop, warm-up 8 s
  --help               this text

The rows are set and get of 1 KiB at 1x1, 16x1 and 64x16 connections x depth, and create of 100 B at 64x16; others: -- --row ...
The whole takes about 30 minutes, --quick about 2.

example:
  cargo build --release && bench/compare-java.sh --ringkeeper target/release/ringkeeper --out /tmp/figures
HELP
}

die() { echo "compare-java.sh: $1" >&2; exit 2; }

while [ $# -gt 0 ]; do
  case "$1" in
    --help|-h) usage; exit 0 ;;
    --quick)
      ROUNDS=3; DURATION=2; PREWARM=8; EQUAL_LOAD=0
      EXTRA+=(--row set:1024:1x1 --row set:1024:64x16 --row get:1024:64x16)
      shift; continue ;;
    --) shift; EXTRA+=("$@"); break ;;
    --ringkeeper|--rkbench|--java-version|--heap|--data|--out|--cfg|--server-cpu|--load-cpu|--rounds|--duration|--equal-load|--port)
      [ $# -ge 2 ] || die "$1 needs a value" ;;
    *) die "unknown argument: $1 (try --help)" ;;
  esac
  case "$1" in
    --ringkeeper) RINGKEEPER=$2 ;;
    --rkbench) RKBENCH=$2 ;;
    --java-version) JAVA_VERSION=$2 ;;
    --heap) HEAP=$2 ;;
    --data) DATA=$2 ;;
    --out) OUT=$2 ;;
    --cfg) CFG_LINES+=("$2") ;;
    --server-cpu) SERVER_CPU=$2 ;;
    --load-cpu) LOAD_CPU=$2 ;;
    --rounds) ROUNDS=$2 ;;
    --duration) DURATION=$2 ;;
    --equal-load) EQUAL_LOAD=$2 ;;
    --port) PORT=$2 ;;
  esac
  shift 2
done

[ -z "$RINGKEEPER" ] || [ -x "$RINGKEEPER" ] || die "$RINGKEEPER is not a program; build it: cargo build --release"
[ "$SERVER_CPU" != "$LOAD_CPU" ] || die "--server-cpu and --load-cpu must differ: the load would compete with the servers"
if [ -z "$RKBENCH" ]; then
  cargo build --quiet --release --manifest-path "$REPO/Cargo.toml" --package rkbench
  RKBENCH=${CARGO_TARGET_DIR:-$REPO/target}/release/rkbench
fi
[ -x "$RKBENCH" ] || die "$RKBENCH is not a program"

DATA_IS_OURS=0
if [ -z "$DATA" ]; then
  DATA=$(mktemp -d /tmp/compare-java.XXXXXX)
  DATA_IS_OURS=1
else
  mkdir -p "$DATA"
  [ -z "$(ls -A "$DATA")" ] || die "$DATA is not empty"
fi
OUT=${OUT:-$DATA}
mkdir -p "$OUT"

PIDS=()
finish() {
  local pid
  for pid in ${PIDS[@]+"${PIDS[@]}"}; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$DATA/java" "$DATA/ringkeeper"
  # Kept if it holds the results, else empty by now.
  [ "$DATA_IS_OURS" = 0 ] || rmdir "$DATA" 2>/dev/null || true
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Does the server on the port serve? Java answers ruok before it does, so its mode is asked for.
serves() {
  { exec 3<>"/dev/tcp/127.0.0.1/$1" && printf srvr >&3 && timeout 2 cat <&3 | grep -q '^Mode:'; } 2>/dev/null
}

# Waits until the server with this name, pid and port serves.
await() {
  local tries
  for tries in $(seq 300); do
    kill -0 "$2" 2>/dev/null || { tail -20 "$OUT/$1.log" >&2; die "$1 ended at start, see above"; }
    (serves "$3") && return
    sleep 0.1
  done
  die "$1 does not serve on port $3 after 30 s, see $OUT/$1.log"
}

for port in "$PORT" "$((PORT + 1))"; do
  ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || die "port $port is in use; name another with --port"
done

# java-server.sh and taskset replace themselves: the pid is the server's.
taskset -c "$SERVER_CPU" bash "$REPO/tests/reference/java-server.sh" --version "$JAVA_VERSION" --heap "$HEAP" \
  --port "$PORT" --data "$DATA/java" > "$OUT/java.log" 2>&1 &
PIDS+=($!)
await java "${PIDS[0]}" "$PORT"
TARGETS=(--target "java=127.0.0.1:$PORT,${PIDS[0]}")

if [ -n "$RINGKEEPER" ]; then
  mkdir -p "$DATA/ringkeeper"
  {
    echo "tickTime=2000"
    echo "dataDir=$DATA/ringkeeper"
    echo "clientPort=$((PORT + 1))"
    echo "clientPortAddress=127.0.0.1"
    echo "maxClientCnxns=0"
    echo "4lw.commands.whitelist=*"
    for line in ${CFG_LINES[@]+"${CFG_LINES[@]}"}; do echo "$line"; done
  } > "$OUT/ringkeeper.cfg"
  taskset -c "$SERVER_CPU" "$RINGKEEPER" "$OUT/ringkeeper.cfg" > "$OUT/ringkeeper.log" 2>&1 &
  PIDS+=($!)
  await ringkeeper "${PIDS[1]}" "$((PORT + 1))"
  TARGETS+=(--target "ringkeeper=127.0.0.1:$((PORT + 1)),${PIDS[1]}")
fi

OPEN=()
[ "$EQUAL_LOAD" = 0 ] || OPEN=(--equal-load "$EQUAL_LOAD")
{
  echo "Java ZooKeeper $JAVA_VERSION (heap $HEAP) and ${RINGKEEPER:-itself}, server on CPU $SERVER_CPU, load on CPU $LOAD_CPU,"
  echo "$(nproc) CPUs ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)), Linux $(uname -r), $(date -u +%F)."
  echo
  "$RKBENCH" compare "${TARGETS[@]}" --self --rounds "$ROUNDS" --duration "$DURATION" --prewarm "$PREWARM" \
    --pin "$LOAD_CPU" --json "$OUT/compare.json" ${OPEN[@]+"${OPEN[@]}"} ${EXTRA[@]+"${EXTRA[@]}"}
} | tee "$OUT/compare.md"
