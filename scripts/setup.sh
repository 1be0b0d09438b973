# Shared by scripts/demo and scripts/test: what a fresh Debian or Ubuntu machine lacks.
# Sourced by bash; expects `cd` to the project's root. Quiet and quick where nothing is missing.

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -- "$@"; else
    die "expected root or sudo, got neither: needed for: $*"
  fi
}

# install_packages NAME...: those that are not there yet, in one apt run.
install_packages() {
  local missing=() name
  for name in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
  done
  [ ${#missing[@]} = 0 ] && return
  command -v apt-get >/dev/null || die "expected apt-get (Debian or Ubuntu), got a machine without it"
  say "installing: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" \
    >&2 </dev/null || die "apt-get could not install: ${missing[*]}"
}

# Ubuntu since 23.10 lets only programs with a profile make user namespaces; bubblewrap needs one.
allow_user_namespaces() {
  local switch=/proc/sys/kernel/apparmor_restrict_unprivileged_userns profile=/etc/apparmor.d/minid-bwrap
  [ -r "$switch" ] && [ "$(cat "$switch")" = 1 ] && [ ! -e "$profile" ] || return 0
  say "adding an AppArmor profile that lets /usr/bin/bwrap make user namespaces: $profile"
  printf '%s\n' 'abi <abi/4.0>,' 'include <tunables/global>' \
    'profile minid-bwrap /usr/bin/bwrap flags=(unconfined) {' '  userns,' '}' | as_root tee "$profile" >/dev/null
  as_root apparmor_parser -r "$profile" || die "apparmor_parser refused $profile"
}

# install_minid EXTRA: a virtual environment in .venv with minid in it ("" or "[dev]").
install_minid() {
  local stamp=.venv/.minid-stamp want
  want="$(sha256sum pyproject.toml | cut -c1-64)$1$PWD"
  [ -r "$stamp" ] && case "$(cat "$stamp")" in "$want"|"${want/"$1"/"[dev]"}") return ;; esac
  say "making a virtual environment in .venv"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "expected Python 3.11 or newer, got $(python3 -V 2>&1)"
  # One that works here is added to, since a service may be running from it.
  if ! .venv/bin/python -c '' 2>/dev/null || ! grep -qF "$PWD" "$stamp" 2>/dev/null; then
    python3 -m venv --clear .venv
  fi
  .venv/bin/pip install --quiet --disable-pip-version-check --editable ".$1" >&2 || die "pip failed"
  # Compiled once, whatever PYTHONDONTWRITEBYTECODE says: a command takes twice as long without.
  .venv/bin/python -m compileall -q minid
  printf %s "$want" >"$stamp"
}

# Release archives lie beside the project on some machines; minid takes them as a mirror.
use_local_archives() {
  if [ -z "${MINID_MIRRORS:-}" ] && [ -d ../shared/upstream ]; then
    MINID_MIRRORS="file:$(cd ../shared/upstream && pwd)"
    export MINID_MIRRORS
  fi
}

BUILD_PACKAGES=(python3 python3-venv bubblewrap mmdebstrap runc uidmap openssl)
# A machine may have its certificates from elsewhere, where this package could not write.
[ -e /etc/ssl/certs/ca-certificates.crt ] || BUILD_PACKAGES+=(ca-certificates)
