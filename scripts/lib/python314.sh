# Find or provide CPython 3.14 and uv as an ordinary user. Sourced by scripts/setup, which defines
# ROOT, CACHE, say and fail.
#
# Order for Python: $PYTHON314, PATH, the result of an earlier run, `uv python install`, and finally
# packages of a newer Debian suite, unpacked into a private prefix with their own libc and loader. The
# libc, the package database and the apt sources of the host are not changed.

# shellcheck source=scripts/lib/debian.sh
. "$ROOT/scripts/lib/debian.sh"

# Trust the certificates of this system, like apt and pip: a network may have its own authority.
SYSTEM_CERTIFICATES=/etc/ssl/certs/ca-certificates.crt
if [ -z "${SSL_CERT_FILE:-}" ] && [ -f "$SYSTEM_CERTIFICATES" ]; then export SSL_CERT_FILE=$SYSTEM_CERTIFICATES; fi

UV=''
PREFIX=$CACHE/python3.14
DEBIAN_SUITES='forky sid'

# usable PYTHON: new enough for Home Assistant, and complete (Debian and others split Python).
usable() {
  [ -n "$1" ] && [ -x "$1" ] && "$1" -I - >/dev/null 2>&1 <<'PY'
import bz2, compression.zstd, ctypes, lzma, sqlite3, ssl, sys, venv, zlib
assert (3, 14, 2) <= sys.version_info[:3] < (3, 15)
PY
}

# find_uv [PYTHON]: sets UV to a uv on PATH, in the cache, or installed there from the package index.
find_uv() {
  UV=$(command -v uv || true)
  # A command on PATH may be the shim of a version manager for a program that is not installed.
  if [ -n "$UV" ] && "$UV" --version >/dev/null 2>&1; then return 0; fi
  UV=$CACHE/uv/bin/uv
  if "$UV" --version >/dev/null 2>&1; then return 0; fi
  UV=''
  local folder=$CACHE/uv.new
  rm -rf "$folder"
  if [ $# -gt 0 ]; then
    say "installing uv"
    "$1" -m venv "$folder" >&2 && "$folder/bin/python" -m pip install --quiet uv >&2 || return 1
  elif command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1; then
    say "installing uv"
    # A separate folder, so that pip does not refuse because system packages are managed externally.
    python3 -m pip install --quiet --target "$folder" uv >&2 || return 1
  else
    return 1
  fi
  rm -rf "$CACHE/uv"
  mv "$folder" "$CACHE/uv"
  "$CACHE/uv/bin/uv" --version >/dev/null 2>&1 || return 1
  UV=$CACHE/uv/bin/uv
}

# provide_python314: prints the path of an interpreter.
provide_python314() {
  local python
  for python in "${PYTHON314:-}" "$(command -v python3.14 || true)" "$PREFIX/usr/bin/python3.14"; do
    if usable "$python"; then echo "$python"; return 0; fi
  done
  if [ -n "${PYTHON314:-}" ]; then
    fail "PYTHON314=$PYTHON314 is not a usable Python 3.14.2 or newer" "It needs the modules ssl, sqlite3, venv, lzma, bz2 and zstd."
  fi
  if [ -n "$UV" ]; then
    say "searching for Python 3.14 with uv"
    # Only one short attempt: with a mirror without interpreters, it would wait for a long time.
    if UV_HTTP_RETRIES=0 timeout 60 "$UV" python install --quiet 3.14 >/dev/null 2>&1; then
      python=$("$UV" python find --managed-python 3.14 2>/dev/null || true)
      if usable "$python"; then echo "$python"; return 0; fi
    fi
  fi
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    fail "no Python 3.14.2 or newer was found, and it cannot be downloaded without apt" \
      "Install Python 3.14 and run this again, or set its path: PYTHON314=/path/to/python3.14 $0"
  fi
  python314_from_debian
  echo "$PREFIX/usr/bin/python3.14"
}

python314_from_debian() (
  work=$(mktemp -d "$CACHE/python314.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  no_debian() { fail "$1" "Install Python 3.14 and run this again, or set its path: PYTHON314=/path/to/python3.14"; }

  uri=$(debian_archive) \
    || no_debian "no Python 3.14.2 or newer was found, and the apt of this system has no Debian archive"
  keyring=$(debian_keyring) \
    || no_debian "no Python 3.14.2 or newer was found, and Debian's archive keyring is missing"

  mkdir -p "$work"/{lists/partial,cache/archives/partial,root}
  : >"$work/status"
  apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
    -o "Dir::State::Lists=$work/lists" -o "Dir::State::status=$work/status" -o "Dir::State=$work/"
    -o "Dir::Cache=$work/cache" -o "Dir::Cache::archives=$work/cache/archives"
    -o "APT::Architectures::=$(dpkg --print-architecture)" -o APT::Install-Recommends=false
    -o Acquire::Languages=none -o Acquire::Retries=3 -o Debug::NoLocking=1)
  # As root, apt would download as a user without access to this folder.
  if [ "$(id -u)" = 0 ]; then apt+=(-o APT::Sandbox::User=root); fi

  found=''
  for suite in $DEBIAN_SUITES; do
    say "downloading Python 3.14 from Debian $suite"
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$uri" "$suite" >"$work/sources.list"
    rm -f "$work"/lists/*_dists_*
    "${apt[@]}" update >&2 || continue
    # With an empty package database, apt resolves all dependencies, including libc.
    if "${apt[@]}" -y --download-only install python3.14 python3.14-venv libstdc++6 >&2 \
      && (cd "$work/cache" && "${apt[@]}" download patchelf >&2); then
      found=$suite
      break
    fi
  done
  [ -n "$found" ] || no_debian "none of the Debian suites ($DEBIAN_SUITES) has Python 3.14"

  for package in "$work"/cache/archives/*.deb; do
    case ${package##*/} in ca-certificates_* | debconf_* | python3-setuptools-whl_*) continue ;; esac
    dpkg-deb -x "$package" "$work/root"
  done
  rm -rf "$work/root/usr/share/"{doc,man,lintian,locale}
  find "$work/root" -name EXTERNALLY-MANAGED -delete
  ln -sf python3.14 "$work/root/usr/bin/python3"
  # The location of pip for `python -m venv`.
  sed -i "s#'/usr/share/python-wheels#'$PREFIX/usr/share/python-wheels#" "$work"/root/usr/lib/python3.14/_sysconfigdata_*.py

  root=$work/root
  libraries=$(dirname "$(find "$root/usr/lib" -maxdepth 2 -name libc.so.6 | head -n1)")
  loader=$(find "$libraries" -maxdepth 1 -name 'ld-linux*.so.*' | head -n1)
  private=$PREFIX${libraries#"$root"}
  program=$root/usr/bin/python3.14
  cp "$program" "$work/program"
  # Use RPATH instead of RUNPATH, so that it also applies to libraries of extension modules. libstdc++
  # and libgcc are loaded first, so that no wheel loads older ones of the host. Use three calls in this
  # order, because some versions of patchelf break the file if everything is done in one call.
  patch_with() {
    cp -f "$work/program" "$program" && "$@" --version >/dev/null 2>&1 \
      && "$@" --add-needed libstdc++.so.6 --add-needed libgcc_s.so.1 "$program" 2>/dev/null \
      && "$@" --force-rpath --set-rpath "$private" "$program" 2>/dev/null \
      && "$@" --set-interpreter "$private/${loader##*/}" "$program" 2>/dev/null \
      && "$loader" --library-path "$libraries" "$program" -I -S -c 'import math, sys, zlib' >/dev/null 2>&1
  }
  mkdir "$work/patchelf" "$work/host"
  dpkg-deb -x "$work"/cache/patchelf_*.deb "$work/patchelf"
  patch_with "$loader" --library-path "$libraries" "$work/patchelf/usr/bin/patchelf" \
    || patch_with patchelf \
    || { [ -n "$UV" ] && patch_with "$UV" tool run --quiet patchelf; } \
    || { (cd "$work/host" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download patchelf >/dev/null 2>&1 && dpkg-deb -x patchelf_*.deb .) \
      && patch_with "$work/host/usr/bin/patchelf"; } \
    || no_debian "no working patchelf was found, so the unpacked Python cannot find its libraries"

  rm -rf "$PREFIX"
  mv "$root" "$PREFIX"
  usable "$PREFIX/usr/bin/python3.14" || no_debian "the Python from Debian does not work on this system"
  "$PREFIX/usr/bin/python3.14" -m compileall -q -j 0 "$PREFIX/usr/lib/python3.14" >/dev/null 2>&1 || true
)
