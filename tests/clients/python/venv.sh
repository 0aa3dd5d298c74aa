# Sourced by run.sh here and by foreign/kazoo-suite.sh: virtual environments in the cache.

# A Python that can make a virtual environment and reach a package index: several lack one of these modules.
find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" /usr/bin/python3; do
        if "$candidate" -c 'import ssl, venv, ensurepip' >/dev/null 2>&1; then
            echo "$candidate"
            return 0
        fi
    done
    echo "${0##*/}: no python3 with the modules ssl, venv and ensurepip (Debian: apt-get install python3-venv)" >&2
    return 1
}

# prepare_venv DIR REQUIREMENTS [FILL…]: makes DIR a virtual environment with what the file REQUIREMENTS names, unless it is one already,
# and runs FILL (a command or a function) when that is installed. It tries twice, since a package index may fail. The lock keeps two suites that
# start together from building the same environment.
prepare_venv() {
    local venv=$1 requirements=$2 attempt
    shift 2
    mkdir -p "$(dirname "$venv")"
    (
        flock 9
        cmp -s "$requirements" "$venv/installed" && exit 0
        for attempt in 1 2; do
            # Not by `set -e`, which does not hold in a condition.
            if make_venv "$venv" "$requirements" && { [ $# -eq 0 ] || "$@"; } && cp "$requirements" "$venv/installed"; then
                exit 0
            fi
            echo "${0##*/}: the installation of $(basename "$requirements") failed (attempt $attempt)" >&2
        done
        exit 1
    ) 9>"$venv.lock"
}

make_venv() {
    local python
    python=$(find_python) && rm -rf "$1" && "$python" -m venv "$1" \
        && "$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2" >&2
}
