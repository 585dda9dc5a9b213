#!/bin/sh
# Builds routing strategies as WebAssembly components.
#
#   build.sh                everything in prebuilt/, with SHA256SUMS and BUILDINFO
#   build.sh --check        what is in prebuilt/ is what the sources give
#   build.sh --crate DIR    one strategy of your own; prints where it lies
#   build.sh --wasi         only the fixture that needs WASI, see README.md
#
# Exit status: 0 done, 1 something is wrong, 3 this machine has no toolchain for
# it (see `explain`), which a test takes as "skip".
set -eu

plugins=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
prebuilt=$plugins/prebuilt
target=wasm32-unknown-unknown
strategies="consistent-hash cookie header"
examples="zone thread"
wasi_libc=''

say() { echo "build: $*" >&2; }

explain() {
    cat >&2 << TEXT
build: no toolchain for $target. One of these is enough:
build:   rustup target add $target
build:   rustup toolchain install nightly --component rust-src
build:   a nightly toolchain, and PLUGIN_STD_SRC=<the library/ folder of a matching rustc>
build:   a nightly toolchain on Debian: fetch-std.sh gets the sources
TEXT
    exit 3
}

# --- toolchain ---------------------------------------------------------------

# Sets `toolchain` (what comes before every cargo or rustc argument), `std_source`
# (empty if the standard library is there already) and `build_std`.
find_toolchain() {
    toolchain='' std_source='' build_std=''
    if has_target ''; then return; fi
    if rustc +nightly --version > /dev/null 2>&1; then
        toolchain=+nightly
        if has_target +nightly; then return; fi
        std_source=${PLUGIN_STD_SRC:-}
        sysroot=$(rustc +nightly --print sysroot)
        if [ -z "$std_source" ] && [ -d "$sysroot/lib/rustlib/src/rust/library/std" ]; then
            std_source=$sysroot/lib/rustlib/src/rust/library
        fi
        [ -n "$std_source" ] || std_source=$("$plugins/fetch-std.sh") || explain
        [ -d "$std_source/std" ] || { say "no std/ in $std_source"; exit 1; }
        std_source=$(CDPATH= cd -- "$std_source" && pwd)
        build_std=-Zbuild-std=std,panic_abort
        # Cargo's own switch for sources outside of the sysroot.
        export __CARGO_TESTS_ONLY_SRC_ROOT="$std_source"
        return
    fi
    explain
}

has_target() {
    libraries=$(rustc ${1:+"$1"} --print target-libdir --target $target 2> /dev/null) &&
        [ -d "$libraries" ]
}

# Everything that decides about the bytes, and no path of this machine. Cargo
# mixes the place of the standard library's sources into every symbol, so that
# counts too, as a hash.
describe_toolchain() {
    rustc ${toolchain:+"$toolchain"} -vV | grep -E '^(rustc|commit-hash|host|LLVM version)'
    linker=$(rustc ${toolchain:+"$toolchain"} --print sysroot)/lib/rustlib/$(host)/bin/wasm-component-ld
    "$linker" --version 2> /dev/null || wasm-component-ld --version
    sed -n '/^name = "wit-bindgen"$/{n;s/version = "\(.*\)"/wit-bindgen \1/p;q;}' "$plugins/Cargo.lock"
    if [ -n "$std_source" ]; then
        echo "std built from sources $(fingerprint "$std_source")"
        echo "std sources lie at $(printf '%s' "$std_source" | sha256sum | cut -c 1-16)"
    else
        echo "std as it comes with the target $target"
    fi
}

host() { rustc ${toolchain:+"$toolchain"} -vV | sed -n 's/^host: //p'; }

fingerprint() {
    (cd "$1" && find . -type f -name '*.rs' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) |
        sha256sum | cut -d ' ' -f 1
}

# --- building ----------------------------------------------------------------

# cargo_wasm FOLDER ARGUMENT...: runs cargo in that folder, so that its
# .cargo/config.toml counts. No path of this machine stays in a component.
cargo_wasm() {
    folder=$1
    shift
    cargo_home=${CARGO_HOME:-$HOME/.cargo}
    flags="\"--remap-path-prefix=$folder=/strategy\", \"--remap-path-prefix=$cargo_home=/cargo\""
    if [ -n "$std_source" ]; then
        flags="$flags, \"--remap-path-prefix=$std_source=/rustc/library\""
    fi
    if [ -n "$wasi_libc" ]; then
        flags="$flags, \"-L$wasi_libc\", \"-Clink-self-contained=no\""
    fi
    (
        cd "$folder"
        # From the environment these would replace the flags in the configuration.
        unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR
        cargo ${toolchain:+"$toolchain"} build --quiet --release --locked --target $target \
            ${build_std:+"$build_std"} \
            --config "target.$target.rustflags = [$flags]" "$@"
    )
}

# strategies_from ROOT OUT: the components that the repository at ROOT gives.
strategies_from() {
    cargo_wasm "$1/plugins" -p consistent-hash -p cookie -p header
    for name in $examples; do
        cargo_wasm "$1/examples/strategy-$name"
    done
    mkdir -p "$2/examples"
    for name in $strategies; do
        cp "$1/plugins/target/$target/release/$(artifact "$name")" "$2/$name.wasm"
    done
    for name in $examples; do
        cp "$1/examples/strategy-$name/target/$target/release/strategy_$name.wasm" \
            "$2/examples/$name.wasm"
    done
}

faults_from() {
    cargo_wasm "$1/plugins" -p faults --examples
    mkdir -p "$2/faults"
    for source in "$1"/plugins/faults/src/*.rs; do
        name=$(basename "$source" .rs)
        # The one that needs WASI has a mode of its own.
        case $name in lib | wasi_chatty) continue ;; esac
        cp "$1/plugins/target/$target/release/examples/$name.wasm" \
            "$2/faults/$(echo "$name" | tr _ -).wasm"
    done
}

artifact() { echo "$(echo "$1" | tr - _).wasm"; }

# --- modes -------------------------------------------------------------------

build() {
    find_toolchain
    root=$(dirname "$plugins")
    strategies_from "$root" "$prebuilt"
    faults_from "$root" "$prebuilt"
    describe_toolchain > "$prebuilt/BUILDINFO"
    sum_up
}

sum_up() {
    (cd "$prebuilt" && find . -name '*.wasm' | sed 's,^\./,,' | LC_ALL=C sort |
        xargs sha256sum > SHA256SUMS)
    say "done: $prebuilt"
}

build_wasi() {
    target=wasm32-wasip2
    find_toolchain
    if [ -n "$std_source" ]; then
        wasi_libc=${PLUGIN_WASI_LIBC:-}
        [ -f "$wasi_libc/libc.a" ] || {
            say "no wasi-libc: set PLUGIN_WASI_LIBC to the folder of its wasm32-wasip2/libc.a"
            exit 3
        }
    fi
    cargo_wasm "$plugins" -p faults --example wasi-chatty
    cp "$plugins/target/$target/release/examples/wasi_chatty.wasm" "$prebuilt/faults/wasi-chatty.wasm"
    sum_up
}

check() {
    (cd "$prebuilt" && sha256sum --check --quiet SHA256SUMS) || {
        say "prebuilt/ and its SHA256SUMS differ"
        exit 1
    }
    find_toolchain
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    # Paths of different lengths, so that one that slips into a component shows.
    for copy in one another-one; do
        copy_sources "$scratch/$copy"
        strategies_from "$scratch/$copy" "$scratch/$copy/out"
        (cd "$scratch/$copy/out" && sha256sum consistent-hash.wasm cookie.wasm header.wasm \
            examples/*.wasm) > "$scratch/$copy.sums"
    done
    cmp -s "$scratch/one.sums" "$scratch/another-one.sums" || {
        say "two builds of the same sources differ:"
        diff "$scratch/one.sums" "$scratch/another-one.sums" >&2 || true
        exit 1
    }
    if describe_toolchain | cmp -s - "$prebuilt/BUILDINFO"; then
        (cd "$prebuilt" && sha256sum --check --quiet "$scratch/one.sums") || {
            say "prebuilt/ is not what these sources give: run plugins/build.sh"
            exit 1
        }
        say "reproducible, and prebuilt/ is what the sources give"
    else
        say "reproducible; prebuilt/ comes from another toolchain (see BUILDINFO), so its bytes were not compared"
    fi
}

copy_sources() {
    root=$(dirname "$plugins")
    mkdir -p "$1"
    (cd "$root" && tar -cf - --exclude=target --exclude=prebuilt wit plugins examples/strategy-zone examples/strategy-thread) |
        tar -xf - -C "$1"
}

build_crate() {
    [ -f "$1/Cargo.toml" ] || { say "no Cargo.toml in $1"; exit 1; }
    find_toolchain
    crate=$(CDPATH= cd -- "$1" && pwd)
    [ -f "$crate/.cargo/config.toml" ] || {
        say "no .cargo/config.toml in $1: without its linker line the result is no component."
        say "Copy the one of examples/strategy-zone."
        exit 1
    }
    [ -f "$crate/Cargo.lock" ] || (cd "$crate" && cargo generate-lockfile --quiet)
    cargo_wasm "$crate"
    ls "$crate/target/$target/release/"*.wasm
}

case ${1:-} in
    '') build ;;
    --check) check ;;
    --wasi) build_wasi ;;
    --crate) [ $# -eq 2 ] || { say "--crate wants a folder"; exit 1; }; build_crate "$2" ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 1 ;;
esac
