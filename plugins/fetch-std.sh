#!/bin/sh
# Prints the folder of Rust's standard library sources for plugins/build.sh,
# after fetching them once into a cache.
#
# Only for machines that have a nightly rustc but neither a wasm32 standard
# library nor rustup's rust-src, and that run Debian or a relative: the sources
# come as the package rust-src of Debian's unstable suite, from the mirror that
# this machine's apt already uses. The package is unpacked, never installed.
# std-src.sha256 names the one file that is accepted.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mooring/std-src
read -r sum deb < "$here/std-src.sha256"
unpacked=$cache/$sum

say() { echo "fetch-std: $*" >&2; }

library() {
    for folder in "$unpacked"/usr/src/rustc-*/library; do
        [ -d "$folder/std" ] && { echo "$folder"; return; }
    done
    return 1
}

library && exit 0

command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null || {
    say "needs apt-get and dpkg-deb; set PLUGIN_STD_SRC to a library/ folder instead"
    exit 3
}

mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial"
cd "$cache"

if [ ! -f "$deb" ]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
        grep -v security | sort -u | head -n 1)
    [ -n "$mirror" ] || { say "apt on this machine has no mirror configured"; exit 3; }
    echo "deb $mirror sid main" > apt/sources.list
    # An apt of its own: the machine's lists and packages stay as they are.
    private="-o Dir::Etc::SourceList=$cache/apt/sources.list -o Dir::Etc::SourceParts=/dev/null
             -o Dir::State::Lists=$cache/apt/lists -o Dir::Cache=$cache/apt
             -o Acquire::Languages=none -o APT::Sandbox::User="
    say "fetching $deb (about 46 MB)"
    # shellcheck disable=SC2086 # the options are words
    apt-get -q $private update >&2 && apt-get -q $private download rust-src >&2 || {
        say "the mirror does not serve Debian's unstable suite"
        exit 3
    }
fi

[ -f "$deb" ] || {
    say "unstable has moved on: found $(ls rust-src_*.deb | tr '\n' ' ')but std-src.sha256 wants $deb"
    exit 3
}
echo "$sum  $deb" | sha256sum --check --quiet >&2 || {
    say "wrong checksum, thrown away: $deb"
    rm -f "$deb"
    exit 1
}

rm -rf "$unpacked.part"
dpkg-deb -x "$deb" "$unpacked.part"
mv "$unpacked.part" "$unpacked"
rm -rf "$cache/apt"
library
