#!/usr/bin/env bash
# Stands in for `java` where a foreign test suite starts ZooKeeper's server by itself: takes the words that such suites give java, and runs
# RINGKEEPER_BINARY with the configuration and the -D properties among them. It must stay the same process, since the suite ends it by its id.
set -euo pipefail
: "${RINGKEEPER_BINARY:?the server to start}"
properties=() configuration=
while [ $# -gt 0 ]; do
    case $1 in
    -cp | -classpath) shift ;;
    # What concerns the JVM alone.
    -Dfile.* | -Djava.awt.* | -Dlog4j.* | -Dsun.* | -Djava.security.krb5.* | -Dzookeeper.log.* | -Dzookeeper.root.* | -X*) ;;
    -D*) properties+=("$1") ;;
    org.apache.zookeeper.*) ;;
    *) configuration=$1 ;;
    esac
    shift
done
# What a RingKeeper of an ensemble does not have yet, it refuses to start with; the test that wants it fails by itself then.
if grep -q '^server\.[0-9]' "$configuration"; then
    kept=()
    for property in "${properties[@]}"; do
        [ "$property" = -Dreadonlymode.enabled=true ] || kept+=("$property")
    done
    properties=("${kept[@]}")
    sed -i '/^localSessions/d' "$configuration"
fi
exec "$RINGKEEPER_BINARY" "${properties[@]}" "$configuration"
