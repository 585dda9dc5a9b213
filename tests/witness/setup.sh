#!/bin/sh
# Installs what the interoperability tests borrow: official SDKs, the conformance suite, the MCP
# Inspector and real servers. Usage: setup.sh DIR
#
# What is there already, at the pinned version, is left alone. What cannot be had is named with
# the reason, and the exit code is 0 all the same: DIR/have.json tells a test what to skip.
# Versions are pinned in ts/package.json, py/requirements.txt and py/frameworks.txt. DIR/bin has a
# starter for each.
set -u
# No browser from elsewhere: the tests use the Chromium of this machine, if there is one.
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1

[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
mkdir -p "$1/npm" "$1/bin" "$1/log" || exit 2
dir=$(CDPATH='' cd -- "$1" && pwd)
have=''

note() { # key, true or false
    have="$have${have:+, }\"$1\": $2"
}

missing() { # key, what, log file
    echo "missing: $2: $(grep -iE 'err|no matching' "$3" 2>/dev/null | tail -n 1)"
    note "$1" false
}

starter() { # name, command line
    printf '#!/bin/sh\nexec %s "$@"\n' "$2" > "$dir/bin/$1.new"
    chmod +x "$dir/bin/$1.new"
    mv "$dir/bin/$1.new" "$dir/bin/$1"
}

# Each package has a folder of its own: one that fails takes no other with it.
npm_package() { # key, package
    version=$(sed -n "s|^ *\"$2\": \"\([^\"]*\)\".*|\1|p" "$here/ts/package.json")
    prefix="$dir/npm/$1"
    if [ "$(cat "$prefix/.installed" 2>/dev/null)" = "$2@$version" ]; then
        note "$1" true
        return 0
    fi
    rm -rf "$prefix"
    mkdir -p "$prefix"
    printf '{"private": true}\n' > "$prefix/package.json"
    if npm install --prefix "$prefix" --no-package-lock --no-audit --no-fund --loglevel=error \
        --fetch-retries=1 "$2@$version" > "$dir/log/$1" 2>&1; then
        echo "$2@$version" > "$prefix/.installed"
        echo "installed: $2@$version"
        note "$1" true
    else
        missing "$1" "$2@$version" "$dir/log/$1"
        return 1
    fi
}

node_is_new_enough() {
    "$1" -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 22 ? 0 : 1)' 2>/dev/null
}

# The pinned Node or, if it cannot be had, one of this machine that will do.
install_node() {
    npm_package node_22 node
    node="$dir/npm/node_22/node_modules/node/bin/node"
    [ -x "$node" ] || node=$(command -v node)
    if node_is_new_enough "$node"; then
        starter node "'$node'"
        note node true
    else
        echo 'missing: Node 22 or newer, which the conformance suite needs'
        note node false
    fi
}

# An entry point of a package, run by the Node found above.
node_starter() { # name, key, path inside node_modules, [options of node]
    [ -e "$dir/npm/$2/node_modules/$3" ] && [ -x "$dir/bin/node" ] &&
        starter "$1" "'$dir/bin/node' ${4:-} '$dir/npm/$2/node_modules/$3'"
}

python_package() { # key, name
    requirement=$(grep "^$2==" "$here/py/requirements.txt")
    if "$dir/py/bin/python" -c 'import importlib.metadata as m, sys
name, version = sys.argv[1].split("==")
sys.exit(m.version(name) != version)' "$requirement" 2>/dev/null; then
        note "$1" true
    elif "$dir/py/bin/pip" install --disable-pip-version-check --quiet --retries 1 \
        "$requirement" > "$dir/log/$1" 2>&1; then
        echo "installed: $requirement"
        note "$1" true
    else
        missing "$1" "$requirement" "$dir/log/$1"
    fi
}

# An environment of its own for each client of py/frameworks.txt, by uv, which links what several
# have in common: a second or two each.
frameworks() {
    while read -r key requirements; do
        case $key in '' | '#'*) continue ;; esac
        env="$dir/env/$key"
        starter "python-$key" "'$env/bin/python'"
        if [ "$(cat "$env/.installed" 2>/dev/null)" = "$requirements" ]; then
            note "$key" true
            continue
        fi
        rm -rf "$env"
        # Words of their own: the line has no spaces inside a requirement.
        # shellcheck disable=SC2086
        if "$dir/py/bin/uv" venv --quiet --python "$dir/py/bin/python" "$env" \
            > "$dir/log/$key" 2>&1 &&
            "$dir/py/bin/uv" pip install --quiet --python "$env/bin/python" $requirements \
                >> "$dir/log/$key" 2>&1; then
            echo "$requirements" > "$env/.installed"
            echo "installed: $requirements"
            note "$key" true
        else
            missing "$key" "$requirements" "$dir/log/$key"
        fi
    done < "$here/py/frameworks.txt"
}

if command -v npm > /dev/null; then
    scope=@modelcontextprotocol
    install_node
    npm_package ts_v1 $scope/sdk
    npm_package ts_v2 $scope/client
    npm_package conformance $scope/conformance
    npm_package inspector $scope/inspector
    npm_package everything $scope/server-everything
    npm_package memory $scope/server-memory
    npm_package filesystem $scope/server-filesystem
    npm_package playwright @playwright/mcp
    npm_package mcp_remote mcp-remote
    npm_package axe axe-core
    node_starter inspector inspector $scope/inspector/clients/launcher/build/index.js
    # A copy: DIR serves more than one checkout.
    cp "$here/loopback.mjs" "$dir/loopback.mjs.new" && mv "$dir/loopback.mjs.new" "$dir/loopback.mjs"
    node_starter conformance conformance $scope/conformance/dist/index.js
    node_starter server-everything everything $scope/server-everything/dist/index.js \
        "--import '$dir/loopback.mjs'"
    node_starter server-memory memory $scope/server-memory/dist/index.js
    node_starter server-filesystem filesystem $scope/server-filesystem/dist/index.js
    node_starter server-playwright playwright @playwright/mcp/cli.js
else
    echo 'missing: npm: not on the PATH, so nothing of Node'
    for key in node_22 node ts_v1 ts_v2 conformance inspector everything memory filesystem playwright mcp_remote axe; do
        note $key false
    done
fi

if [ -x "$dir/py/bin/pip" ] || python3 -m venv "$dir/py" > "$dir/log/python" 2>&1; then
    python_package python mcp
    python_package time mcp-server-time
    python_package uv uv
    export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
    frameworks
    # Into uvx's own cache, which the tests use offline. It does not read pip's settings.
    "$dir/py/bin/uvx" mcp-server-time --help > "$dir/log/uvx" 2>&1 ||
        echo "missing: uvx cannot fetch mcp-server-time: $(tail -n 1 "$dir/log/uvx")"
    starter python "'$dir/py/bin/python'"
    starter server-time "'$dir/py/bin/mcp-server-time'"
else
    echo "missing: a Python environment: $(tail -n 1 "$dir/log/python")"
    note python false
    note time false
fi

echo "{$have}" > "$dir/have.json.new"
mv "$dir/have.json.new" "$dir/have.json"
cat "$dir/have.json"
