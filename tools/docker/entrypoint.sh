#!/bin/sh
# The beginning of the container. Nothing, options, or the official image's command (zkServer.sh start-foreground) start the server, which
# takes its configuration from the environment itself; anything else is run as it stands.
set -eu

case "${1-}" in
    zkServer.sh) [ "${2-}" = start-foreground ] || { echo "entrypoint.sh: of zkServer.sh there is only start-foreground" >&2; exit 1; }
                 shift 2; set -- ringkeeper --docker "$@" ;;
    '' | -*)     set -- ringkeeper --docker "$@" ;;
esac

# Root hands its directories over and goes on as the user zookeeper. With `--user`, they have to be that user's already.
if [ "$1" = ringkeeper ] && [ "$(id -u)" = 0 ]; then
    for dir in "${ZOO_DATA_DIR:-/data}" "${ZOO_DATA_LOG_DIR:-/datalog}"; do
        mkdir -p "$dir"
        chown -R 1000:1000 "$dir"
    done
    exec setpriv --reuid=1000 --regid=1000 --clear-groups -- "$@"
fi
exec "$@"
