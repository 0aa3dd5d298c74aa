#!/usr/bin/env bash
# Runs the Curator suite: curator/run.sh [options] host:port[,host:port]. Compiles into the cache directory when a source changed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}
shared=$here/../java/src/clients # the frame, the relay and the plain client are the Java suite's
# The jars name their own dependencies in their manifests; slf4j-nop keeps the library's log out of the report.
jars=/usr/share/java/curator-x-discovery.jar:/usr/share/java/curator-recipes.jar:/usr/share/java/curator-framework.jar:/usr/share/java/curator-client.jar:/usr/share/java/guava.jar:/usr/share/java/jackson-databind.jar:/usr/share/java/jackson-core.jar:/usr/share/java/jackson-annotations.jar
jars=$jars:/usr/share/java/zookeeper.jar:/usr/share/java/zookeeper-jute.jar:/usr/share/java/slf4j-api.jar:/usr/share/java/slf4j-nop.jar

command -v javac >/dev/null || { echo "curator/run.sh: javac is missing (run tests/clients/install.sh)" >&2; exit 2; }
[ -e /usr/share/java/curator-recipes.jar ] || { echo "curator/run.sh: libcurator-recipes-java is missing (run tests/clients/install.sh)" >&2; exit 2; }

sources=("$here"/src/clients/*.java "$shared"/{Suite,Context,Client,Relay,Replies}.java)
stamp=$(cat "${sources[@]}" | sha256sum | cut -c1-16)
classes=$cache/curator-$stamp
if [ ! -e "$classes/done" ]; then
    mkdir -p "$cache"
    building=$(mktemp -d "$cache/curator-building.XXXXXX")
    # -proc:none, -implicit:none: nothing but these files. The manifest's class path names jars that Debian does not install.
    javac -nowarn -Xlint:-path -proc:none -implicit:none -d "$building" -cp "$jars" "${sources[@]}"
    touch "$building/done"
    mv -T "$building" "$classes" 2>/dev/null || rm -rf "$building" # another run was faster
fi
exec java -Xmx256m -XX:+UseSerialGC -cp "$classes:$jars" clients.CuratorMain "$@"
