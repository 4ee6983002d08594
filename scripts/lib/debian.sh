# The Debian archive of this host, for scripts that download packages of newer suites. Sourced.

# debian_archive: prints the address of the archive used by the apt of this host.
debian_archive() {
  local uri
  uri=$(apt-get indextargets --format '$(REPO_URI)|$(ORIGIN)|$(LABEL)' 'Created-By: Packages' 2>/dev/null \
    | awk -F'|' '$2 == "Debian" && $3 == "Debian" {print $1; exit}' || true)
  if [ -z "$uri" ]; then # no lists on this host yet: use the address that apt would download from
    uri=$(apt-get update --print-uris 2>/dev/null \
      | sed -nE "s#^'([^']+/)dists/[^/' ]+/InRelease'.*#\1#p" | grep -v security | head -n1 || true)
  fi
  [ -n "$uri" ] && echo "$uri"
}

# debian_keyring: prints the path of the signing keys of the archive.
debian_keyring() {
  local keyring
  for keyring in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
    if [ -f "$keyring" ]; then echo "$keyring"; return 0; fi
  done
  return 1
}

# debian_apt FOLDER ARCHITECTURE SUITE...: writes FOLDER/apt.conf for an apt with separate lists and a
# separate cache. `apt-get -c FOLDER/apt.conf` then downloads packages of that architecture and their
# sources, without changing the apt of this host.
debian_apt() {
  local folder=$1 architecture=$2 uri keyring suite kind
  shift 2
  uri=$(debian_archive) || fail "the apt of this system has no Debian archive"
  keyring=$(debian_keyring) || fail "Debian's archive keyring is missing: apt-get install debian-archive-keyring"
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
  : >"$folder/status"
  for suite in "$@"; do
    for kind in deb deb-src; do printf '%s [signed-by=%s] %s %s main\n' "$kind" "$keyring" "$uri" "$suite"; done
  done >"$folder/sources.list"
  cat >"$folder/apt.conf" <<CONF
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$folder";
Dir::State::lists "$folder/lists";
Dir::State::status "$folder/status";
Dir::Cache "$folder/cache";
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "1";
CONF
}

# debian_package FOLDER NAME INTO SUITE...: downloads a package with the apt of `debian_apt` and unpacks it
# into a folder. If an archive lists a version that it no longer has, the next suite is used.
debian_package() {
  local folder=$1 name=$2 into=$3 suite
  shift 3
  mkdir -p "$into" "$folder/fetched-$name"
  cd "$folder/fetched-$name"
  for suite in "$@"; do
    apt-get -qq -c "$folder/apt.conf" download "$name/$suite" || continue
    dpkg-deb -x "$name"_*.deb "$into"
    return 0
  done
  return 1
}
