# Run by the sandbox's bash in /app, which has the files that the plan lists.
# $1: requirements, lock or pyproject: what says which packages are needed.
# $2: package or no-package: whether the project itself is to be installed as well.
set -euo pipefail

have=$(python3 -c 'import platform; print(platform.python_version())')
if [[ -f .python-version ]]; then
    want=$(grep -vE '^[[:space:]]*(#|$)' .python-version | head -n 1 | tr -d '[:space:]' || true)
    want=${want#cpython-}
    want=${want#python-}
    if [[ "$have." != "$want."* ]]; then
        echo " !     .python-version asks for Python $want, but this stack has Python $have" >&2
        exit 65
    fi
fi
if ! command -v uv >/dev/null; then
    echo " !     this stack has no uv, which the python builder needs" >&2
    exit 69
fi
echo "Using Python $have and $(uv --version | cut -d' ' -f1,2)"

# Two builds of the same packages must give the same bytes: compiled files that carry the hash of
# their source instead of its time, made with one order of sets.
export UV_CACHE_DIR=/cache/uv UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
export UV_PROJECT_ENVIRONMENT=/app/.venv VIRTUAL_ENV=/app/.venv
export PYC_INVALIDATION_MODE=UNCHECKED_HASH PYTHONHASHSEED=0 SOURCE_DATE_EPOCH=315532800

python=$(command -v python3)
case "$1" in
lock)
    project=(--no-install-project)
    [[ $2 == package ]] && project=(--no-editable)
    uv sync --frozen --no-dev --compile-bytecode --python "$python" "${project[@]}"
    ;;
requirements)
    uv venv --quiet --python "$python" .venv
    uv pip install --compile-bytecode -r requirements.txt
    ;;
pyproject)
    uv venv --quiet --python "$python" .venv
    if [[ $2 == package ]]; then
        uv pip install --compile-bytecode .
    else
        uv pip install --compile-bytecode -r pyproject.toml
    fi
    ;;
esac
# Locks of a program that is gone, and when something was fetched: neither is part of the result.
rm -f .venv/.lock
find .venv -path '*.dist-info/uv_cache.json' -delete
