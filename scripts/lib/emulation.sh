# Running programs for another processor with QEMU's user emulation. Sourced after debian.sh by scripts
# that define fail. Nothing is registered in the kernel, and neither root nor a namespace is needed.

EMULATOR_SUITES="forky sid trixie"

# emulator ARCH FOLDER: prints the path of a QEMU for programs of ARCH. If the host has none, the static
# one of Debian is unpacked into FOLDER.
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
    fail "qemu-$arch is missing and could not be downloaded: apt-get install qemu-user"
  fi
  rm -rf "$folder/.qemu"
  echo "$folder/qemu-$arch"
}

# emulate_python PYTHON ARCH QEMU [OPTION...]: lets QEMU run PYTHON, a program of ARCH. It is replaced by a
# script with its name, so that this also works for `sys.executable` and for environments created with it.
emulate_python() {
  local python=$1 arch=$2 qemu=$3 option=
  shift 3
  for name in "$@"; do option="$option '$name'"; done
  [ -e "$python.$arch" ] || mv "$python" "$python.$arch"
  # The processor of a Raspberry Pi 4. The default of QEMU has 16-bit arithmetic, which it emulates 40 times slower.
  cat >"$python" <<SCRIPT
#!/bin/sh
exec '$qemu' -cpu "\${QEMU_CPU:-cortex-a72}"$option -0 "\$0" '$python.$arch' "\$@"
SCRIPT
  chmod +x "$python"
}
