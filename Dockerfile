# One image for the worker, the endpoints, the set-up job and the trial mail server.
#
# Python 3.11 is the version that the tests run with. docs/how-to/deploy.md says where each tag was
# looked up; tests/deploy holds this file to its rules.

FROM python:3.11.15-slim-bookworm AS libraries
COPY requirements-image.lock /
# Ready-made wheels only, each of the recorded hash: nothing is compiled, nothing else gets in.
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --only-binary=:all: --require-hashes \
        -r /requirements-image.lock


FROM python:3.11.15-slim-bookworm
RUN groupadd --gid 10001 connector \
    && useradd --uid 10001 --gid connector --no-create-home --home-dir /data connector \
    && install --directory --owner connector --group connector --mode 0700 /data
COPY --from=libraries /venv /venv
WORKDIR /app
COPY models models
COPY workflows workflows
COPY activities activities
COPY starter starter
COPY tools tools
COPY worker.py ./
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EMAIL_CONNECTOR_DATA_DIR=/data \
    EMAIL_CONNECTOR_HEALTH_ADDRESS=127.0.0.1:8081
USER 10001:10001
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8081/readyz', timeout=4)"]
CMD ["python", "worker.py"]
