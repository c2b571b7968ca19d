# An image of the HTTP server with every provider of this repository: docker build --tag kie-ai-mcp-server .
# docs/operating.md says how to run it; compose.yaml runs two of it on one PostgreSQL database.

FROM python:3.13-slim AS build
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /src
RUN pip install "uv>=0.9" "hatchling>=1.27" "hatch-fancy-pypi-readme>=24.1"
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY core core
COPY plugins plugins
RUN uv build --quiet --all-packages --wheel --no-build-isolation --out-dir /wheels
RUN uv venv --quiet --python /usr/local/bin/python3 /opt/kie-ai \
    && uv pip install --quiet --python /opt/kie-ai/bin/python --compile-bytecode --find-links /wheels \
        "kie-ai-mcp-server[otel,postgres,preview]==0.1.0"

FROM python:3.13-slim
LABEL org.opencontainers.image.title="kie-ai-mcp-server" \
    org.opencontainers.image.description="MCP server for pictures, videos, music and speech through Kie.ai" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.source="https://github.com/kie-ai-mcp-server/kie-ai-mcp-server" \
    org.opencontainers.image.documentation="https://kie-ai-mcp-server.github.io/kie-ai-mcp-server/" \
    io.modelcontextprotocol.server.name="io.github.kie-ai-mcp-server/kie-ai-mcp-server"
COPY --from=build /opt/kie-ai /opt/kie-ai
# The user has a number alone, so that it is the same on every host that shares a folder with it.
RUN install --directory --owner 10001 --group 10001 --mode 0700 /data /data/results /data/tmp
ENV PATH=/opt/kie-ai/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/data \
    XDG_CACHE_HOME=/data/cache \
    XDG_CONFIG_HOME=/data/config \
    XDG_DATA_HOME=/data/share \
    TMPDIR=/data/tmp \
    KIE_AI_DB_PATH=/data/tasks.db \
    KIE_AI_OUTPUT_DIR=/data/results
WORKDIR /data
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=3); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["kie-ai-mcp-server"]
# It listens beyond the container, so KIE_AI_HTTP_TOKEN must be set, or users be added.
CMD ["serve", "--http", "--host", "0.0.0.0", "--port", "8000"]
