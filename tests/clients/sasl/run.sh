#!/usr/bin/env bash
# Runs kazoo and the Java client with SASL against a server that has the users of tests/reference/auth.jaas.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}
jars=/usr/share/java/zookeeper.jar:/usr/share/java/zookeeper-jute.jar:/usr/share/java/slf4j-api.jar:/usr/share/java/slf4j-nop.jar

case "${1:-}" in
-h | --help | "")
    echo "usage: sasl/run.sh [--required] host:port    (--required: the server runs with sessionRequireClientSASLAuth=true)
The server needs java.security.auth.login.config=tests/reference/auth.jaas and the SASLAuthenticationProvider as an authProvider."
    exit 0
    ;;
esac

passed=0 failed=0 broken=''
run() {
    local output code=0
    output=$("${@:2}") || code=$?
    echo "$output"
    if [[ $(tail -n 1 <<<"$output") =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
    else
        echo "FAIL $1: exit code $code before its end"
        broken=1
    fi
}
"$here/../python/run.sh" --prepare
run kazoo "$cache/venv/bin/python" "$here/kazoo_sasl.py" "$@"
run java java -Xmx256m -XX:+UseSerialGC -Dfile.encoding=UTF-8 -cp "$jars" "$here/JavaSasl.java" "$@"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ -z "$broken" ] && [ "$passed" -gt 0 ]
