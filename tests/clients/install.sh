#!/usr/bin/env bash
# Installs what the client suites need on Debian, by name, and prepares kazoo's virtual environment. Does nothing that is done already.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1:-}" = "--help" ] || [ "${1:-}" = "-h" ]; then
    echo "usage: install.sh    (as root; installs the clients with apt-get where they are missing)"
    exit 0
fi

# package = a file that shows that it is there
packages=(
    "ca-certificates=/etc/ssl/certs/ca-certificates.crt"
    "gcc=/usr/bin/gcc"
    "libc6-dev=/usr/include/stdio.h"
    "python3=/usr/bin/python3"
    "python3-venv=/usr/share/doc/python3-venv"
    "default-jdk-headless=/usr/bin/javac"
    "libzookeeper-java=/usr/share/java/zookeeper.jar"
    "libslf4j-java=/usr/share/java/slf4j-nop.jar"
    "libguava-java=/usr/share/java/guava.jar"
    "libjackson2-databind-java=/usr/share/java/jackson-databind.jar"
    "libcurator-client-java=/usr/share/java/curator-client.jar"
    "libcurator-framework-java=/usr/share/java/curator-framework.jar"
    "libcurator-recipes-java=/usr/share/java/curator-recipes.jar"
    "libcurator-discovery-java=/usr/share/java/curator-x-discovery.jar"
    "libzookeeper-mt-dev=/usr/include/zookeeper/zookeeper.h"
    "zookeeper-bin=/usr/lib/zookeeper/bin/cli_mt"
    "zookeeper=/usr/share/zookeeper/bin/zkCli.sh"
)

missing() {
    local entry
    for entry in "${packages[@]}"; do
        [ -e "${entry#*=}" ] || echo "${entry%%=*}"
    done
}

install_missing() {
    local names
    mapfile -t names < <(missing)
    [ ${#names[@]} -gt 0 ] || return 0
    echo "install.sh: installing ${names[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2 && apt-get install -y -qq --no-install-recommends "${names[@]}" >&2
}

install_missing || {
    echo "install.sh: apt-get failed, trying once more" >&2
    install_missing || true
}
mapfile -t still < <(missing)
if [ ${#still[@]} -gt 0 ]; then
    echo "install.sh: could not install: ${still[*]}" >&2
    exit 1
fi
"$here/python/run.sh" --prepare || {
    echo "install.sh: could not prepare kazoo's virtual environment" >&2
    exit 1
}
echo "install.sh: everything is there"
