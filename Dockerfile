# docker build -t mooring .                 Mooring with Node.js and Python: runs `npx` and `uvx` servers
# docker build -t mooring:slim --target slim .    the binary alone: coordinators, nodes with remote servers
#
# `full` comes last and so is the default: configurations written for MCPHub start their servers with
# `npx` and `uvx`, and would not find them in a smaller image.

# The release of Debian that all stages share: what one has built runs in the others.
ARG DEBIAN=trixie
# Servers ask for Node.js 22 or later, and Debian's own is older.
ARG NODE=24

FROM rust:1.95-${DEBIAN} AS builder
WORKDIR /src
COPY . .
# The caches outlive this step and the binary must not, hence the copy.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked -p mooring --target-dir /src/target \
    && cp /src/target/release/mooring /usr/local/bin/mooring


FROM debian:${DEBIAN}-slim AS slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates tini \
    && rm -rf /var/lib/apt/lists/*
# The user is numeric below so that Kubernetes can tell that it is not root (`runAsNonRoot`).
# The data volume is theirs before VOLUME: a new named volume takes over its owner.
RUN groupadd --gid 10001 mooring \
    && useradd --uid 10001 --gid mooring --home-dir /app/data --no-create-home --shell /usr/sbin/nologin mooring \
    && install -d -o mooring -g mooring /app /app/data
COPY --from=builder /usr/local/bin/mooring /usr/local/bin/mooring

WORKDIR /app
# The configuration is read from the working directory: mount it at /app/mcp_settings.json.
# What npx and uvx download, and the home of the servers, is on the volume: a new container need not
# download it again, and the root file system can be read-only. The gateway's own folder is one below
# it, which servers see empty where they can be kept from it.
# In a container only its published ports are reached from outside.
ENV HOME=/app/data \
    npm_config_cache=/app/data/cache/npm \
    UV_CACHE_DIR=/app/data/cache/uv \
    MOORING_DATA=/app/data/mooring \
    MOORING_HOST=0.0.0.0
VOLUME /app/data
EXPOSE 3000
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["mooring", "health", "--live"]
# Process 1 must reap what servers leave behind.
ENTRYPOINT ["/usr/bin/tini", "--", "mooring"]


FROM node:${NODE}-${DEBIAN}-slim AS node


FROM slim AS full
# Debian has no uv package, so it comes from PyPI, at one version.
ARG UV_VERSION=0.13.9
USER root
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules/ /usr/local/lib/node_modules/
# Builds of Node.js are linked with libstdc++6 and libatomic1. The last line fails the build, not a
# server's start, if one of the programs does not run.
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl git libatomic1 libstdc++6 \
        python-is-python3 python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && pip3 install --no-cache-dir --break-system-packages "uv==${UV_VERSION}" \
    && ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
    && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx \
    && for program in node npm npx python pip3 uv uvx git curl; do "$program" --version || exit 1; done
USER 10001:10001
