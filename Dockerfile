# docker build -t mooring .                 Mooring with Node.js and Python: runs `npx` and `uvx` servers
# docker build -t mooring:slim --target slim .    the binary alone: coordinators, nodes with remote servers
#
# `full` comes last and so is the default: configurations written for MCPHub start their servers with
# `npx` and `uvx`, and would not find them in a smaller image.

FROM rust:1.95-bookworm AS builder
WORKDIR /src
COPY . .
# The caches outlive this step and the binary must not, hence the copy.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked -p mooring --target-dir /src/target \
    && cp /src/target/release/mooring /usr/local/bin/mooring


FROM debian:bookworm-slim AS slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates tini \
    && rm -rf /var/lib/apt/lists/*
# The user is numeric below so that Kubernetes can tell that it is not root (`runAsNonRoot`).
# The data folder is theirs before VOLUME: a new named volume takes over its owner.
RUN groupadd --gid 10001 mooring \
    && useradd --uid 10001 --gid mooring --create-home --shell /usr/sbin/nologin mooring \
    && install -d -o mooring -g mooring /app /app/data
COPY --from=builder /usr/local/bin/mooring /usr/local/bin/mooring

WORKDIR /app
# The configuration is read from the working directory: mount it at /app/mcp_settings.json.
# HOME is where npx and uvx keep what they download.
# In a container only its published ports are reached from outside.
ENV MOORING_DATA=/app/data \
    MOORING_HOST=0.0.0.0 \
    HOME=/home/mooring
VOLUME /app/data
EXPOSE 3000
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["mooring", "health"]
# Process 1 must reap what servers leave behind.
ENTRYPOINT ["/usr/bin/tini", "--", "mooring"]


FROM slim AS full
# Debian has no uv package, so it comes from PyPI, at one version.
ARG UV_VERSION=0.13.9
USER root
# Node.js is the one that Debian maintains. For a server that asks for a newer one, build an image
# `FROM mooring` that copies /usr/local from an official `node` image for bookworm.
RUN apt-get update \
    && apt-get install -y --no-install-recommends git nodejs npm python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && pip3 install --no-cache-dir --break-system-packages "uv==${UV_VERSION}"
USER 10001:10001
