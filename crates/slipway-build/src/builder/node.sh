# Run by the sandbox's bash in /app.
# $1: lock or no-lock: whether there is a lock file, and so anything to install.
# $2: build or no-build: whether package.json has a build script.
set -euo pipefail

if ! command -v npm >/dev/null; then
    echo " !     this stack has no npm, which the node builder needs" >&2
    exit 69
fi
echo "Using Node $(node --version) and npm $(npm --version)"
export npm_config_cache=/cache/npm npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false
export npm_config_progress=false npm_config_loglevel=error

if [[ $2 == no-build ]]; then
    npm ci --omit=dev
else
    [[ $1 == lock ]] && npm ci --include=dev
    NODE_ENV=production npm run build
    [[ $1 == lock ]] && npm prune --omit=dev
fi
# A tool's scratch space; it holds times and is never read in the image.
rm -rf node_modules/.cache
mkdir -p node_modules
