# syntax=docker/dockerfile:1
# The sidecar's image: one virtual environment built from the hash-locked files, no pip and no compiler in what ships.
#
#   docker build -t toolgate .
#   docker run --rm -v "$PWD:/etc/toolgate:ro" -p 127.0.0.1:8400:8400 toolgate check
#
# The base is pinned by tag here. For a reproducible image pin it by digest when you build:
#   docker build --build-arg BASE=docker.io/library/python:3.13-slim@sha256:… -t toolgate .
# (`docker buildx imagetools inspect python:3.13-slim` prints the digest.) Any base with Python 3.11 or newer as `python3`
# and its venv module will do; both stages must use the same one, because the environment links to its interpreter.
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /src
RUN ["python3", "-m", "venv", "/build"]
RUN ["python3", "-m", "venv", "--without-pip", "/opt/toolgate"]
# Dependencies first: this layer is rebuilt only when a lock changes.
COPY requirements.lock requirements-build.lock ./
RUN ["/build/bin/pip", "install", "--no-deps", "--require-hashes", "--only-binary=:all:", "-r", "requirements-build.lock"]
RUN ["/build/bin/pip", "--python", "/opt/toolgate/bin/python", "install", "--no-deps", "--require-hashes", "--only-binary=:all:", "--compile", "-r", "requirements.lock"]
COPY pyproject.toml README.md LICENSE ./
COPY proxy ./proxy
RUN ["/build/bin/pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "/dist", "."]
RUN ["/build/bin/pip", "--python", "/opt/toolgate/bin/python", "install", "--no-deps", "--no-index", "--find-links", "/dist", "--compile", "toolgate"]

FROM ${BASE}
LABEL org.opencontainers.image.title="toolgate" \
      org.opencontainers.image.description="IAM for tools: a sidecar proxy between LLM agents and the real APIs they call" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/toolgate /opt/toolgate
# PYTHONSAFEPATH: nothing is imported from the working directory. The root file system may be read-only:
# the process writes to the ledger's folder and, with a Unix socket, to /run/toolgate, and nowhere else.
ENV PATH=/opt/toolgate/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONSAFEPATH=1 \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TOOLGATE_CONFIG=/etc/toolgate/toolgate.yaml
WORKDIR /var/lib/toolgate
# A number, so that Kubernetes can verify runAsNonRoot.
RUN ["python3", "-c", "import os; [(os.makedirs(d, exist_ok=True), os.chown(d, 1337, 1337), os.chmod(d, 0o700)) for d in ('/var/lib/toolgate', '/run/toolgate')]; os.makedirs('/etc/toolgate', exist_ok=True)"]
USER 1337:1337
EXPOSE 8400 8402
STOPSIGNAL SIGTERM
# Health is the orchestrator's to ask: /-/live and /-/ready on 8402.
HEALTHCHECK NONE
ENTRYPOINT ["toolgate"]
CMD ["serve"]
