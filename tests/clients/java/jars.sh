# Sourced by java/run.sh and curator/run.sh: the ZooKeeper client library that a Java suite is compiled against and run with.

# Takes `--client VERSION` out of the arguments: afterwards `client` is the version and `arguments` are the others.
take_client() {
    client=3.8.0 arguments=()
    while [ $# -gt 0 ]; do
        if [ "$1" = --client ]; then
            [ $# -ge 2 ] || { echo "run.sh: --client needs a version" >&2; exit 2; }
            client=$2
            shift
        else
            arguments+=("$1")
        fi
        shift
    done
}

# Prints the class path of that client. 3.8.0 is Debian's: zookeeper.jar names its own dependencies in its manifest, and slf4j-nop
# keeps the library's log out of the report. 3.9.5 is the reference server's own.
client_jars() {
    case $1 in
    3.8.0) echo /usr/share/java/zookeeper.jar:/usr/share/java/zookeeper-jute.jar:/usr/share/java/slf4j-api.jar:/usr/share/java/slf4j-nop.jar ;;
    3.9.5) "$(dirname "${BASH_SOURCE[0]}")/../../reference/java-server.sh" --classpath ;;
    *) echo "run.sh: no such client: $1 (3.8.0 or 3.9.5)" >&2; return 2 ;;
    esac
}

# Compiles into the cache directory when a source or the library changed: compile NAME CLASS_PATH SOURCE…; sets `classes`.
compile() {
    local name=$1 jars=$2 cache=${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper} stamp building
    shift 2
    stamp=$({ cat "$@"; echo "$jars"; } | sha256sum | cut -c1-16)
    classes=$cache/$name-$stamp
    [ ! -e "$classes/done" ] || return 0
    mkdir -p "$cache"
    building=$(mktemp -d "$cache/$name-building.XXXXXX")
    # -proc:none, -implicit:none: nothing but these files. The manifest's class path names jars that Debian does not install.
    javac -nowarn -Xlint:-path,-deprecation -proc:none -implicit:none -d "$building" -cp "$jars" "$@" || { rm -rf "$building"; return 2; }
    touch "$building/done"
    mv -T "$building" "$classes" 2>/dev/null || rm -rf "$building" # another run was faster
}
