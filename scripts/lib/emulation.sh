# Programs of another processor, run by QEMU's user emulation. Sourced, after debian.sh, by scripts that
# define fail. Nothing is registered with the kernel, and no root or name space is needed.

EMULATOR_SUITES="forky sid trixie"

# emulator ARCH FOLDER: prints the path of a QEMU for programs of ARCH: one that this host has, or else
# Debian's, which needs no library, unpacked into FOLDER.
emulator() {
  local arch=$1 folder=$2 name
  for name in "qemu-$arch-static" "qemu-$arch" "$folder/qemu-$arch"; do
    if command -v "$name"; then return 0; fi
  done
  # shellcheck disable=SC2086
  if ! {
    debian_apt "$folder/.qemu" "$(dpkg --print-architecture)" $EMULATOR_SUITES \
      && apt-get -qq -c "$folder/.qemu/apt.conf" update \
      && (debian_package "$folder/.qemu" qemu-user "$folder/.qemu/root" $EMULATOR_SUITES) \
      && cp "$folder/.qemu/root/usr/bin/qemu-$arch" "$folder/"
  } >&2; then
    fail "there is no qemu-$arch, and none could be unpacked: apt-get install qemu-user"
  fi
  rm -rf "$folder/.qemu"
  echo "$folder/qemu-$arch"
}

# emulate_python PYTHON ARCH QEMU [OPTION...]: has PYTHON, a program of ARCH, run by QEMU. It is replaced by a
# script of its name, so that what it starts as `sys.executable`, and environments made of it, are, too.
emulate_python() {
  local python=$1 arch=$2 qemu=$3 option=
  shift 3
  for name in "$@"; do option="$option '$name'"; done
  [ -e "$python.$arch" ] || mv "$python" "$python.$arch"
  # A Raspberry Pi 4's: QEMU's own choice knows arithmetic with 16 bits, which it imitates 40 times as slowly.
  cat >"$python" <<SCRIPT
#!/bin/sh
exec '$qemu' -cpu "\${QEMU_CPU:-cortex-a72}"$option -0 "\$0" '$python.$arch' "\$@"
SCRIPT
  chmod +x "$python"
}
