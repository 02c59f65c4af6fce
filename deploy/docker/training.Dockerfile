# Everything beside the request path: pipeline, gate, promotion, retraining, a sidecar of any registry, `mlflow server`.
# Build from the repository's root: docker build -f deploy/docker/training.Dockerfile -t hotgate-training .
FROM docker.io/library/python:3.11-slim AS build
COPY requirements/setup.txt requirements/train.txt requirements/init.txt /requirements/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /requirements/setup.txt \
    && python -m venv --without-pip /opt/hotgate \
    && /opt/build/bin/uv pip install --quiet --no-cache --compile-bytecode --require-hashes \
        --python /opt/hotgate/bin/python -r /requirements/train.txt -r /requirements/init.txt
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
# git: DVC and the model file's provenance ask for it. Its version is the base image's to say, so that it gets fixes.
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/hotgate hotgate \
    && install --directory --owner=hotgate --group=hotgate /var/lib/hotgate /var/lib/hotgate/store /var/lib/hotgate/monitor
COPY --from=build /opt/hotgate /opt/hotgate
ENV PATH=/opt/hotgate/bin:$PATH \
    HOTGATE_HOME=/var/lib/hotgate \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/hotgate
VOLUME /var/lib/hotgate
STOPSIGNAL SIGTERM
ENTRYPOINT ["dumb-init", "--single-child", "--"]
CMD ["hotgate", "--help"]
