# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by the scripts of this folder: Debian packages and the build tree.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build

# What the library and the command-line tool are built from. dpkg-dev: without it Meson takes a Debian for a system that
# has its libraries in lib64, where neither CMake nor the linker looks.
# shellcheck disable=SC2034
build_packages=(g++ meson ninja-build pkgconf dpkg-dev libc6-dev libhwy-dev libtbb-dev libcli11-dev libcairo2-dev
                libturbojpeg0-dev fonts-dejavu-core)

# The options of build/, the same in every script so that they can alternate without building anything twice. The engines'
# headers take longer to compile than all of peakpool.
build_options=(-Dwerror=true -Dbench=disabled -Dtorch=disabled -Donnxruntime=disabled)

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo > /dev/null; then
    sudo "$@"
  else
    die "must be root, or have sudo, to run: $*"
  fi
}

# need_packages PACKAGE...: installs those that are missing. Touches neither apt nor the network if none is. A foreign
# package is named with its architecture, as in libhwy-dev:arm64.
need_packages() {
  command -v dpkg-query apt-get > /dev/null || die "needs a Debian-like system with dpkg and apt-get, for: $*"
  local native package architecture missing=()
  native=$(dpkg --print-architecture)
  for package; do
    architecture=$native
    [[ $package == *:* ]] && architecture=${package#*:}
    # Only the part after the name is asked for: a package that dpkg never heard of is an error of dpkg-query's.
    dpkg-query --show --showformat='${Architecture} ${db:Status-Status}\n' "${package%:*}" 2> /dev/null |
      grep -qxE "($architecture|all) installed" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  echo "installing ${missing[*]}"
  as_root apt-get -qq update || die "apt-get update failed"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" ||
    die "apt-get could not install ${missing[*]}"
}

# configure_tree FOLDER MESON-OPTION...: makes a build tree, or changes it where an option differs. A tree whose options
# are those already is left alone, so that nothing is reconfigured or built again.
configure_tree() {
  local folder=$1 record=$1/.configured-with
  shift
  if [[ ! -f $folder/build.ninja ]]; then
    meson setup "$folder" "$root" "$@" || return
  elif [[ ! -f $record || $(< "$record") != "$*" ]]; then
    meson setup --reconfigure "$folder" "$root" "$@" || return
  fi
  echo "$*" > "$record"
}

# configure_build TARGET...: the same for build/ with its options. It lacks a target where it was configured before the
# packages of that target were installed; then it is configured again, which keeps what is built.
configure_build() {
  configure_tree "$build" "${build_options[@]}" || return
  local target
  for target; do
    grep -q "^build $target:" "$build/build.ninja" && continue
    meson setup --reconfigure "$build" "$root"
    return
  done
}
