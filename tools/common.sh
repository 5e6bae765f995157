# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by the scripts of this folder: Debian packages and the build tree.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build

# What the library and the command-line tool are built from.
# shellcheck disable=SC2034
build_packages=(g++ meson ninja-build pkgconf libc6-dev libhwy-dev libtbb-dev libcli11-dev libcairo2-dev
                libturbojpeg0-dev fonts-dejavu-core)

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

# configure_build [MESON-OPTION...]: makes the build tree, or changes it where an option differs. A tree whose options
# are those already is left alone, so that nothing is reconfigured or built again.
configure_build() {
  local wanted="$*" record=$build/.configured-with
  if [[ ! -f $build/build.ninja ]]; then
    meson setup "$build" "$root" "$@" || return
  elif [[ ! -f $record || $(< "$record") != "$wanted" ]]; then
    meson setup --reconfigure "$build" "$root" "$@" || return
  fi
  echo "$wanted" > "$record"
}
