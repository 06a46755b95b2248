#!/usr/bin/env bash
# `make e2e`: the tests against real servers of other people's. Arguments go to pytest.
#
# Prometheus: the one on PATH (or $PROMETHEUS), else Debian's package, unpacked under build/e2e and not installed, so
# that no service is started and nothing of the system is changed.
set -euo pipefail
cd "$(dirname "$0")/../.."

unpacked=build/e2e/prometheus

find_prometheus() {
    if [ -n "${PROMETHEUS:-}" ]; then
        echo "$PROMETHEUS"
    elif command -v prometheus >/dev/null; then
        command -v prometheus
    elif [ -x "$unpacked/usr/bin/prometheus" ]; then
        echo "$PWD/$unpacked/usr/bin/prometheus"
    else
        return 1
    fi
}

get_prometheus() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    mkdir -p "$unpacked"
    (
        cd "$unpacked"
        if ! apt-get -qq download prometheus 2>/dev/null; then
            [ "$(id -u)" = 0 ] || exit 1 # only root may refresh the package lists
            apt-get -qq update && apt-get -qq download prometheus
        fi
        dpkg-deb -x prometheus_*.deb . && rm -f prometheus_*.deb
    ) >&2
}

if ! prometheus=$(find_prometheus); then
    echo "make e2e: no prometheus on PATH; unpacking Debian's package under $unpacked" >&2
    if ! get_prometheus || ! prometheus=$(find_prometheus); then
        echo "make e2e: cannot get a Prometheus server here: it needs apt-get with a reachable Debian mirror." >&2
        echo "          Install one (https://prometheus.io/download/) and name it: make e2e PROMETHEUS=/path/to/prometheus" >&2
        exit 3
    fi
fi
echo "make e2e: $("$prometheus" --version 2>&1 | head -n 1)" >&2
PROMETHEUS=$prometheus exec .venv/bin/python -m pytest -q -m e2e "$@" tests/e2e
