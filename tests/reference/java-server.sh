#!/usr/bin/env bash
# Starts a real Apache ZooKeeper server, standalone or one of an ensemble, in the foreground: the oracle for our golden vectors, the
# differential harness and the benchmark. It owns nothing but its cache and the files it writes under --data
# (zoo.cfg, log4j2.properties; ZooKeeper adds version-2/). It must never touch a data directory it was not given.
# Fails with exit code 2 for a usage error, 3 when the jars cannot be had; otherwise exits as java does.
set -euo pipefail

VERSION=3.9.5
PORT=2181
HOST=127.0.0.1
DATA=
HEAP=256m
LOG_LEVEL=warn
MYID=
MAIN=org.apache.zookeeper.server.ZooKeeperServerMain
PREPARE_ONLY=0
PRINT_CLASSPATH=0
FAST_START=0
CFG_LINES=()
JVM_ARGS=()

CACHE="${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}"
PYSPARK=4.3.0
# The digest of "super:test", so that `addauth digest super:test` makes an administrator.
SUPER_DIGEST='super:D/InIHSb7yEEbrWz8b9l71RjZJU='

usage() {
  cat <<'HELP'
Starts a real Apache ZooKeeper server in the foreground (stop it with SIGTERM), standalone unless it has a --myid.

usage: java-server.sh --data DIR [options]

  --version V      3.9.5 (default; jars out of PyPI's pyspark sdist, kept in the cache) or 3.8.0 (Debian's
                   packages zookeeper and libzookeeper-java, jars in /usr/share/java)
  --port N         client port, default 2181
  --host ADDR      client address, default 127.0.0.1
  --data DIR       dataDir; created if absent. zoo.cfg is written into it
  --cfg LINE       one more zoo.cfg line (last wins), repeatable:  --cfg snapCount=1000
  --myid N         not standalone but server N of an ensemble, whose server.N lines come with --cfg
  --jvm ARG        one more JVM argument, repeatable:  --jvm -Dzookeeper.digest.enabled=false
  --heap SIZE      -Xmx, default 256m
  --log LEVEL      error|warn|info|debug on stderr, default warn
  --fast-start     start with an archive of the JVM's loaded classes, which takes a third less processor time; the
                   first call makes it in the cache, in some seconds. For tests, not for measurements
  --prepare        only fetch the jars (idempotent; with --fast-start make the archive), print their directory, and exit
  --classpath      print the class path (for our own Java test clients) and exit
  --help           this text

Defaults written before the --cfg lines: tickTime=2000 (change with --cfg tickTime=..), maxClientCnxns=0,
4lw.commands.whitelist=*, admin.enableServer=false, extendedTypesEnabled=true. `super:test` is the super user.
With RINGKEEPER_PYSPARK_SDIST=/path/pyspark-4.3.0.tar.gz nothing is downloaded.
The cache is ${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}.

example:
  tests/reference/java-server.sh --port 21811 --data /tmp/zk1 &
  echo ruok | nc 127.0.0.1 21811        # imok
  kill $!
HELP
}

die() { echo "java-server.sh: $1" >&2; exit "${2:-2}"; }

while [ $# -gt 0 ]; do
  case "$1" in
    --help|-h) usage; exit 0 ;;
    --prepare) PREPARE_ONLY=1; shift; continue ;;
    --fast-start) FAST_START=1; shift; continue ;;
    --classpath) PRINT_CLASSPATH=1; shift; continue ;;
    --version|--port|--host|--data|--cfg|--jvm|--heap|--log|--myid)
      [ $# -ge 2 ] || die "$1 needs a value" ;;
    *) die "unknown argument: $1 (try --help)" ;;
  esac
  case "$1" in
    --version) VERSION=$2 ;;
    --port) PORT=$2 ;;
    --host) HOST=$2 ;;
    --data) DATA=$2 ;;
    --cfg) CFG_LINES+=("$2") ;;
    --jvm) JVM_ARGS+=("$2") ;;
    --heap) HEAP=$2 ;;
    --log) LOG_LEVEL=$2 ;;
    --myid) MYID=$2; MAIN=org.apache.zookeeper.server.quorum.QuorumPeerMain ;;
  esac
  shift 2
done

# Fetches the 3.9.5 jars into $CACHE/zookeeper-3.9.5 unless they are there, and those of Curator 5.9, for the client suites, into its
# folder curator, where the server's class path does not see them. Each directory appears by one rename.
prepare_395() {
  local dir="$CACHE/zookeeper-3.9.5" sdist="${RINGKEEPER_PYSPARK_SDIST:-}" work
  [ -f "$dir/complete" ] && [ -d "$dir/curator" ] && { echo "$dir"; return; }
  mkdir -p "$CACHE"
  work=$(mktemp -d "$CACHE/prepare.XXXXXX")
  if [ -z "$sdist" ]; then
    # The clients' Python, which is made here where tests/clients/install.sh has not been.
    { "$(dirname "$0")/../clients/python/run.sh" --prepare \
      && "$CACHE/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps "pyspark==$PYSPARK" --dest "$work/dl" >&2; } \
      || { rm -rf "$work"; die "pip download pyspark==$PYSPARK failed" 3; }
    sdist=$(echo "$work"/dl/pyspark-*.tar.gz)
  fi
  mkdir "$work/jars"
  tar xzf "$sdist" -C "$work/jars" --strip-components=3 --wildcards \
    "*/deps/jars/zookeeper-3.9.5.jar" "*/deps/jars/zookeeper-jute-3.9.5.jar" \
    "*/deps/jars/netty-buffer-*" "*/deps/jars/netty-common-*" "*/deps/jars/netty-codec-base-*" \
    "*/deps/jars/netty-codec-4*" "*/deps/jars/netty-handler-4*" "*/deps/jars/netty-resolver-4*" \
    "*/deps/jars/netty-transport-4*" "*/deps/jars/netty-transport-classes-epoll-*" \
    "*/deps/jars/netty-transport-native-unix-common-*" "*/deps/jars/netty-transport-native-epoll-*-linux-x86_64.jar" \
    "*/deps/jars/slf4j-api-*" "*/deps/jars/log4j-api-*" "*/deps/jars/log4j-core-*" "*/deps/jars/log4j-slf4j2-impl-*" \
    "*/deps/jars/metrics-core-*" "*/deps/jars/snappy-java-*" "*/deps/jars/commons-io-*" \
    "*/deps/jars/curator-client-*" "*/deps/jars/curator-framework-*" "*/deps/jars/curator-recipes-*" \
    || { rm -rf "$work"; die "cannot extract the jars from $sdist" 3; }
  mkdir "$work/jars/curator"
  mv "$work"/jars/curator-*.jar "$work/jars/curator"
  touch "$work/jars/complete"
  # Somebody else may have been faster: then theirs is as good. A cache from before Curator was wanted gets that alone.
  mv -T "$work/jars" "$dir" 2>/dev/null || [ -d "$dir/curator" ] || mv -T "$work/jars/curator" "$dir/curator" 2>/dev/null \
    || [ -d "$dir/curator" ] || die "cannot publish $dir" 3
  rm -rf "$work"
  echo "$dir"
}

prepare_380() {
  local dir=/usr/share/java
  [ -f "$dir/zookeeper-3.8.0.jar" ] || die "apt-get install zookeeper libzookeeper-java (3.8.0) is missing" 3
  echo "$dir"
}

class_path() {
  case "$VERSION" in
    3.9.5) printf '%s/*' "$(prepare_395)" ;;
    # The jar's manifest names its dependencies; the log binding alone is ours to choose.
    3.8.0) printf '%s/zookeeper-3.8.0.jar:%s/slf4j-simple.jar' "$(prepare_380)" /usr/share/java ;;
    *) die "unknown --version $VERSION: 3.9.5 or 3.8.0" ;;
  esac
}

# Prints where the archive is of the classes that a server loads, and makes it unless it is there. The JVM itself refuses one of another JVM or other jars;
# its name says which those were, so that a new one is made for new ones.
class_archive() {
  local modules jars=() parts part key file work pid try
  modules=$(dirname "$(readlink -f "$(command -v java)")")/../lib/modules
  IFS=: read -ra parts <<< "$CP"
  for part in "${parts[@]}"; do
    if [ "${part%/\*}" != "$part" ]; then jars+=("${part%/\*}"/*.jar); else jars+=("$part"); fi
  done
  key=$(stat -Lc '%n %Y %s' "$modules" "${jars[@]}" | sha256sum | cut -c1-16)
  file="$CACHE/classes-$VERSION-$key.jsa"
  [ -f "$file" ] && { echo "$file"; return; }
  mkdir -p "$CACHE"
  work=$(mktemp -d "$CACHE/classes.XXXXXX")
  # An ensemble of one, on an address that nobody else has: what leads is loaded, too.
  local host="127.$((RANDOM % 200 + 20)).$((RANDOM % 250 + 1)).$((RANDOM % 250 + 1))"
  "$0" --version "$VERSION" --data "$work/data" --myid 1 --host "$host" --cfg "server.1=$host:2888:3888" --cfg standaloneEnabled=false \
    --cfg initLimit=10 --cfg syncLimit=5 --log info --jvm "-XX:ArchiveClassesAtExit=$work/classes" --jvm -XX:TieredStopAtLevel=1 > "$work/log" 2>&1 &
  pid=$!
  for ((try = 0; try < 600; try++)); do
    kill -0 "$pid" 2>/dev/null || break
    if (exec 3<>"/dev/tcp/$host/2181" && echo srvr >&3 && grep -q 'Mode: leader' <&3) 2>/dev/null; then break; fi
    sleep 0.1
  done
  kill "$pid" 2>/dev/null || true
  wait "$pid" || true
  [ -f "$work/classes" ] || { tail -5 "$work/log" >&2; rm -rf "$work"; die "the archive of classes cannot be made" 3; }
  mv "$work/classes" "$file"
  rm -rf "$work"
  echo "$file"
}

CP=$(class_path)
if [ "$PRINT_CLASSPATH" = 1 ]; then echo "$CP"; exit 0; fi
if [ "$FAST_START" = 1 ]; then
  ARCHIVE=$(class_archive)
  JVM_ARGS=("-XX:SharedArchiveFile=$ARCHIVE" -Xlog:cds=off -Xlog:cds+dynamic=off ${JVM_ARGS[@]+"${JVM_ARGS[@]}"})
fi
if [ "$PREPARE_ONLY" = 1 ]; then echo "$CP" | cut -d: -f1 | xargs -0 dirname; exit 0; fi
[ -n "$DATA" ] || die "--data is needed (try --help)"

mkdir -p "$DATA"
DATA=$(cd "$DATA" && pwd)
{
  echo "tickTime=2000"
  echo "dataDir=$DATA"
  echo "clientPort=$PORT"
  echo "clientPortAddress=$HOST"
  echo "maxClientCnxns=0"
  echo "4lw.commands.whitelist=*"
  echo "admin.enableServer=false"
  echo "extendedTypesEnabled=true"
  for line in ${CFG_LINES[@]+"${CFG_LINES[@]}"}; do echo "$line"; done
} > "$DATA/zoo.cfg"

[ -z "$MYID" ] || echo "$MYID" > "$DATA/myid"

cat > "$DATA/log4j2.properties" <<LOG4J
status = error
appender.err.type = Console
appender.err.name = err
appender.err.target = SYSTEM_ERR
appender.err.layout.type = PatternLayout
appender.err.layout.pattern = %d{ISO8601} [%t] %-5p %c{1}: %m%n
rootLogger.level = $LOG_LEVEL
rootLogger.appenderRef.err.ref = err
LOG4J

exec java "-Xmx$HEAP" -XX:+UseSerialGC \
  -cp "$CP" \
  "-Dlog4j2.configurationFile=$DATA/log4j2.properties" \
  "-Dorg.slf4j.simpleLogger.defaultLogLevel=$LOG_LEVEL" \
  -Dzookeeper.jmx.log4j.disable=true \
  "-Dzookeeper.DigestAuthenticationProvider.superDigest=$SUPER_DIGEST" \
  ${JVM_ARGS[@]+"${JVM_ARGS[@]}"} \
  "$MAIN" "$DATA/zoo.cfg"
