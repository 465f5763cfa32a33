#!/bin/sh
# Installs etl from this checkout to /srv/etl: user, virtual environment, configuration, file of
# keys, folder of data. Run as root, and again to upgrade; configuration, keys and data are kept.
set -eu
ROOT=${ROOT:-}                      # another folder than /, to try it out; nothing is owned by etl
LOCK=${LOCK:-requirements.lock}     # requirements-extras.lock: with export, notices and worker
PYTHON=${PYTHON:-python3}

cd "$(dirname "$0")/../.."
home=$ROOT/srv/etl etc=$ROOT/etc/etl

if [ -z "$ROOT" ]; then
  id etl >/dev/null 2>&1 ||
    useradd --system --user-group --home-dir /srv/etl --no-create-home --shell /usr/sbin/nologin etl
  theirs='-o etl -g etl' readable='-o root -g etl'
else
  theirs='' readable=''
fi
install -d -m 755 "$home" "$home/config"
install -d $readable -m 750 "$etc"
install -d $theirs -m 700 "$home/data"

[ -x "$home/.venv/bin/python" ] || "$PYTHON" -m venv "$home/.venv"
pip() { "$home/.venv/bin/python" -m pip install -q --disable-pip-version-check "$@"; }
pip --require-hashes --no-deps -r "$LOCK"
pip --no-deps --no-build-isolation --force-reinstall .

[ -e "$home/config/etl.toml" ] || (cd "$home" && .venv/bin/etl init)
[ -e "$etc/keys.env" ] || install $readable -m 640 /dev/null "$etc/keys.env"

echo "etl is in $home. Next:"
echo "  1. name your sources in $home/config/etl.toml"
echo "  2. write their keys into $etc/keys.env, a line each: LAUNCHDARKLY_API_KEY=api-..."
echo "  3. crontab -u etl docs/deploy/crontab, or a unit of systemd (docs/deploy/README.md)"
