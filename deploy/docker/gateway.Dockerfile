# The server: workers, sidecar of an HTTP registry, observer without a prediction log. Nothing in it trains.
# Build from the repository's root: docker build -f deploy/docker/gateway.Dockerfile -t hotgate .
FROM docker.io/library/python:3.11-slim AS build
COPY requirements/setup.txt requirements/gateway.txt requirements/init.txt /requirements/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /requirements/setup.txt \
    && python -m venv --without-pip /opt/hotgate \
    && /opt/build/bin/uv pip install --quiet --no-cache --compile-bytecode --require-hashes \
        --python /opt/hotgate/bin/python -r /requirements/gateway.txt -r /requirements/init.txt
WORKDIR /source
COPY pyproject.toml README.md LICENSE hotgate.py ./
COPY benchmarks benchmarks
COPY converters converters
COPY deploy deploy
COPY gateway gateway
COPY monitoring monitoring
COPY training training
RUN /opt/build/bin/uv build --quiet --wheel --no-build-isolation --python /opt/build/bin/python --out-dir /wheel \
    && /opt/build/bin/uv pip install --quiet --no-deps --compile-bytecode --python /opt/hotgate/bin/python /wheel/*.whl

FROM docker.io/library/python:3.11-slim
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/hotgate hotgate \
    && install --directory --owner=hotgate --group=hotgate /var/lib/hotgate /var/lib/hotgate/store /var/lib/hotgate/monitor
COPY --from=build /opt/hotgate /opt/hotgate
ENV PATH=/opt/hotgate/bin:$PATH \
    HOTGATE_HOME=/var/lib/hotgate \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/hotgate
# The root file system may be read-only: state is here, scratch in /tmp.
VOLUME /var/lib/hotgate
EXPOSE 8000
STOPSIGNAL SIGTERM
# Starting takes a second; a load balancer asks /readyz by itself.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
# An init that reaps what a killed sidecar leaves behind; it hands signals to the server alone, which stops its children in order.
ENTRYPOINT ["dumb-init", "--single-child", "--", "hotgate"]
CMD ["serve", "--host", "0.0.0.0"]
