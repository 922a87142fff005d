#!/bin/sh
# Makes sure that what gora is built with is installed; used by the Makefile, the pipelines and .ci/run.
#
#   pipelines/setup.sh          what the build needs
#   pipelines/setup.sh check    that, and what `make lint` and `make test` need
#
# Says what is missing, then installs it with apt-get, as root or through sudo without a password. Where that is not possible it
# prints the command to run and exits 1. Silent and quick where nothing is missing.
set -eu

packages='libopenblas-dev libhdf5-dev libzstd-dev zlib1g-dev libssl-dev pkg-config'
# bf16 products and faster f32 ones; the sandbox for programs that gora-eval runs. gora runs without.
optional='libdnnl-dev bubblewrap'
lost='without libdnnl-dev more slowly, without bubblewrap it runs no programs of models but with --no-sandbox'

say() { printf 'setup: %s\n' "$*" >&2; }

case ${1-} in
  '') ;;
  check) packages="$packages mandoc hdf5-tools" ;;
  *)
    say "usage: setup.sh [check]"
    exit 64
    ;;
esac

if ! command -v swift >/dev/null 2>&1; then
  say 'error: no "swift" in PATH; gora needs a Swift toolchain, 6.2 or later (https://www.swift.org/install/linux)'
  exit 1
fi

if ! command -v dpkg-query >/dev/null 2>&1; then
  # Not Debian: what pkg-config finds is good enough.
  for module in openblas hdf5 libzstd zlib libcrypto; do
    if ! pkg-config --exists "$module" 2>/dev/null; then
      say "error: pkg-config does not find $module; install the development files of OpenBLAS, HDF5, zstd, zlib and OpenSSL"
      exit 1
    fi
  done
  exit 0
fi

# Prints those of its arguments that are not installed, each after a space.
missing() {
  for package in "$@"; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) in
      installed) ;;
      # pkgconf may stand in for pkg-config.
      *)
        case $package in
          pkg-config) command -v pkg-config >/dev/null 2>&1 || printf ' %s' "$package" ;;
          *) printf ' %s' "$package" ;;
        esac
        ;;
    esac
  done
}

# Prints those of its arguments that apt knows, each after a space.
available() {
  for package in "$@"; do
    if apt-cache show "$package" >/dev/null 2>&1; then printf ' %s' "$package"; fi
  done
}

# shellcheck disable=SC2086 # lists of words on purpose, here and below
wanted=$(missing $packages)
extra=$(missing $optional)
if [ -z "$wanted$extra" ]; then exit 0; fi

if [ -z "$wanted" ] && [ -z "$(available $extra)" ]; then
  say "notice:$extra is not to be had here; gora runs ($lost)"
  exit 0
fi

if [ "$(id -u)" -eq 0 ]; then
  as_root=''
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
  as_root='sudo -n'
elif [ -z "$wanted" ]; then
  say "notice:$extra is not installed; gora runs ($lost): sudo apt-get install$extra"
  exit 0
else
  say "missing:$wanted${extra:+ (and, optional,$extra)}"
  say "error: they can be installed by root alone, and sudo asks for a password; run this, then try again:"
  say "  sudo apt-get update && sudo apt-get install -y$wanted"
  exit 1
fi

install() {
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2
}

# Package lists may be absent, or older than the archive: they are fetched once, when the first try fails.
if [ -n "$wanted" ]; then
  say "missing:$wanted; installing with apt-get"
  if ! install $wanted; then
    say 'trying again with fresh package lists'
    $as_root apt-get update -q >&2 || true
    if ! install $wanted; then
      say "error: apt-get could not install$wanted; see its messages above, then run: apt-get install -y$wanted"
      exit 1
    fi
  fi
fi
if [ -n "$extra" ]; then
  found=$(available $extra)
  if [ -n "$found" ]; then
    say "missing:$found (optional); installing with apt-get"
    install $found || say "notice:$found could not be installed; gora runs ($lost)"
  fi
  if [ "$found" != "$extra" ]; then say "notice: not all of$extra are to be had here; gora runs ($lost)"; fi
fi
