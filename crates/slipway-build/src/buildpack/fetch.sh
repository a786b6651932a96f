# Arguments, four for each buildpack: its number, git or tar, the URL, the branch, tag or commit.
set -euo pipefail
cd /packs
while (($# >= 4)); do
    number=$1 kind=$2 url=$3 reference=$4
    shift 4
    echo "-----> Fetching buildpack $url"
    if [[ $kind == tar ]]; then
        mkdir "$number"
        if ! curl --fail --silent --show-error --location --proto '=https' --max-time 120 --max-filesize 209715200 \
            --output /tmp/pack -- "$url"; then
            echo " !     $url cannot be fetched" >&2
            exit 66
        fi
        tar --extract --file /tmp/pack --directory "$number" --no-same-owner
        rm -f /tmp/pack
        # Some archives have everything in one directory.
        if [[ ! -e $number/bin ]]; then
            entries=("$number"/*)
            if ((${#entries[@]} == 1)) && [[ -d ${entries[0]}/bin ]]; then
                mv "${entries[0]}" "$number.inner" && rm -rf "$number" && mv "$number.inner" "$number"
            fi
        fi
    else
        export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1 GIT_ALLOW_PROTOCOL=https
        git init --quiet "$number"
        if ! git -C "$number" fetch --quiet --depth 1 -- "$url" "${reference:-HEAD}"; then
            echo " !     ${reference:-the default branch} of $url cannot be fetched" >&2
            exit 66
        fi
        git -C "$number" -c advice.detachedHead=false checkout --quiet FETCH_HEAD
    fi
done
