# The images of Stoker: `docker build --target server .`, `--target worker` and `--target cworker`.
#
# The tasks of a project: build an image of its own FROM the worker's, or mount a folder of task
# modules on /app/jobs. For the worker in C: build its plugins in `buildc`, or mount them on /plugins.

FROM python:3.11.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/stoker \
    && /opt/stoker/bin/pip install --no-cache-dir '.[all]'

FROM python:3.11.11-slim-bookworm AS base
# tini is process 1: it hands signals on from the first moment, and reaps what tasks leave behind.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 stoker \
    && useradd --uid 10001 --gid stoker --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin stoker \
    && install --directory --owner=stoker --group=stoker /app /data
COPY --from=build /opt/stoker /opt/stoker
# The root file system may be read-only: only /data and /tmp are written to.
ENV PATH=/opt/stoker/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STOKER_LOG__FORMAT=json \
    STOKER_TASKS__OUTBOX=/data/outbox \
    STOKER_FLEET__RUN_DIR=/data/run
WORKDIR /app
USER 10001:10001
VOLUME ["/data"]
ENTRYPOINT ["tini", "--"]

FROM base AS server
# Whoever comes has to show an API key: stoker keys create NAME --scope admin
ENV STOKER_SERVER__REQUIRE_KEY=always
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
# Inside a container the address has to be one that others reach, and --insecure says that it is
# without TLS. Who reaches it is decided outside: publish it on 127.0.0.1 only, put it behind a proxy
# that speaks TLS, or give it a certificate (STOKER_SERVER__CERTIFICATE).
CMD ["stoker", "server", "--host", "0.0.0.0", "--insecure"]

FROM base AS worker
HEALTHCHECK --interval=30s --timeout=15s --start-period=30s --retries=3 \
    CMD ["stoker", "workers", "check", "--ignore-outage"]
CMD ["stoker", "worker"]

FROM debian:bookworm-20241223-slim AS buildc
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev make libssl-dev libyajl-dev zlib1g-dev libdeflate-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY workers/c ./workers/c
RUN make -C workers/c -j2 programs plugins

FROM debian:bookworm-20241223-slim AS cworker
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini libssl3 libyajl2 zlib1g libdeflate0 ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 stoker \
    && useradd --uid 10001 --gid stoker --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin stoker
COPY --from=buildc /src/workers/c/build/stoker-worker-c /usr/local/bin/stoker-worker-c
COPY --from=buildc /src/workers/c/build/plugins /plugins
COPY --from=buildc /src/workers/c/include/stoker_worker.h /usr/local/include/stoker_worker.h
ENV STOKER_LOG__FORMAT=json
WORKDIR /plugins
USER 10001:10001
# A worker that is not well loses its session: `stoker workers check`, wherever the store is, says so.
HEALTHCHECK NONE
ENTRYPOINT ["tini", "--"]
CMD ["stoker-worker-c", "--plugin", "/plugins/shapes.so"]
