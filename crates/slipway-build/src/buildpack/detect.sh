# Arguments: what to call each buildpack, in order. All of them must fit.
set -uo pipefail
for pack in /packs/*; do
    name=$1
    shift
    if [[ ! -f $pack/bin/detect || ! -f $pack/bin/compile ]]; then
        echo " !     $name is no buildpack: it has no bin/detect and bin/compile" >&2
        exit 65
    fi
    chmod +x "$pack"/bin/* 2>/dev/null
    if ! detected=$("$pack/bin/detect" /build); then
        echo " !     buildpack $name does not fit this app${detected:+: ${detected%%$'\n'*}}" >&2
        exit 65
    fi
    echo "-----> ${detected%%$'\n'*} app detected"
done
