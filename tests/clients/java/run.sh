#!/usr/bin/env bash
# Runs the Java client's suite: java/run.sh [options] host:port[,host:port]. With --api it prints which check makes which call.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/jars.sh"
take_client "$@"

command -v javac >/dev/null || { echo "java/run.sh: javac is missing (run tests/clients/install.sh)" >&2; exit 2; }
[ -e /usr/share/java/zookeeper.jar ] || { echo "java/run.sh: libzookeeper-java is missing (run tests/clients/install.sh)" >&2; exit 2; }

jars=$(client_jars "$client")
compile java "$jars" "$here"/src/clients/*.java "$here/src-$client"/clients/*.java
exec java -Xmx256m -XX:+UseSerialGC -Dorg.apache.logging.log4j.level=OFF -cp "$classes:$jars" clients.Main "${arguments[@]}"
