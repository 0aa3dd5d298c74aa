#!/usr/bin/env bash
# Runs the Curator suite: curator/run.sh [options] host:port[,host:port]. With the client 3.8.0 it is Curator 5.4, with 3.9.5 Curator 5.9.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../java/jars.sh"
take_client "$@"

command -v javac >/dev/null || { echo "curator/run.sh: javac is missing (run tests/clients/install.sh)" >&2; exit 2; }
[ -e /usr/share/java/curator-x-discovery.jar ] || { echo "curator/run.sh: libcurator-discovery-java is missing (run tests/clients/install.sh)" >&2; exit 2; }

# Service discovery is Debian's in both: nothing else that is in reach has its jar.
java=/usr/share/java
jars=$java/curator-x-discovery.jar:$java/guava.jar:$java/jackson-databind.jar:$java/jackson-core.jar:$java/jackson-annotations.jar
library=$(client_jars "$client")
case $client in
3.8.0) jars=$java/curator-recipes.jar:$java/curator-framework.jar:$java/curator-client.jar:$jars:$library ;;
*) jars="${library%/\*}/curator/*:$library:$jars" ;;
esac

# The frame, the relay and the plain client are the Java suite's.
compile curator "$jars" "$here"/src/clients/*.java "$here"/../java/src/clients/{Suite,Context,Client,Relay,Replies}.java
exec java -Xmx256m -XX:+UseSerialGC -Dorg.apache.logging.log4j.level=OFF -cp "$classes:$jars" clients.CuratorMain "${arguments[@]}"
