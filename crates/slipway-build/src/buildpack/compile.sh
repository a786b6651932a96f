# Arguments: what to call each buildpack, in order.
set -uo pipefail
mkdir -p /cache/buildpack
for pack in /packs/*; do
    name=$1
    shift
    "$pack/bin/compile" /build /cache/buildpack /env
    status=$?
    if ((status != 0)); then
        echo "buildpack $name failed with status $status"
        exit "$status"
    fi
    # What this pack wants the next ones to find in their environment.
    if [[ -f $pack/export ]]; then
        set +u
        source "$pack/export"
        set -u
    fi
done
# The last one says what the app would start.
if [[ -f $pack/bin/release ]]; then
    if ! "$pack/bin/release" /build >/out/release.yml; then
        echo " !     bin/release of $name failed" >&2
        exit 70
    fi
fi
