#!/usr/bin/env bash
# Runs the Java client's suite: java/run.sh [options] host:port[,host:port]. Compiles into the cache directory when a source changed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}
# zookeeper.jar names its own dependencies in its manifest; slf4j-nop keeps the library's log out of the report.
jars=/usr/share/java/zookeeper.jar:/usr/share/java/zookeeper-jute.jar:/usr/share/java/slf4j-api.jar:/usr/share/java/slf4j-nop.jar

command -v javac >/dev/null || { echo "java/run.sh: javac is missing (run tests/clients/install.sh)" >&2; exit 2; }
[ -e /usr/share/java/zookeeper.jar ] || { echo "java/run.sh: libzookeeper-java is missing (run tests/clients/install.sh)" >&2; exit 2; }

sources=("$here"/src/clients/*.java)
stamp=$(cat "${sources[@]}" | sha256sum | cut -c1-16)
classes=$cache/java-$stamp
if [ ! -e "$classes/done" ]; then
    mkdir -p "$cache"
    building=$(mktemp -d "$cache/java-building.XXXXXX")
    # -proc:none, -implicit:none: nothing but these files. The manifest's class path names jars that Debian does not install.
    javac -nowarn -Xlint:-path -proc:none -implicit:none -d "$building" -cp "$jars" "${sources[@]}"
    touch "$building/done"
    mv -T "$building" "$classes" 2>/dev/null || rm -rf "$building" # another run was faster
fi
exec java -Xmx256m -XX:+UseSerialGC -cp "$classes:$jars" clients.Main "$@"
