# The service as an image: `make image` builds it, `make image-test` runs it. See "Deployment" in README.md.
# FLASKVSTORE_REDIS_URL is required when it starts; all other settings have defaults.

FROM debian:bookworm-slim AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements.txt ./
RUN python3 -m venv /opt/flaskvstore \
    && /opt/flaskvstore/bin/pip install --no-cache-dir --require-hashes --requirement requirements.txt
COPY . ./
RUN /opt/flaskvstore/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/flaskvstore/bin/pip uninstall --yes setuptools pip

FROM debian:bookworm-slim
# No version is pinned, to get Debian's latest fixes for Python.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/flaskvstore /opt/flaskvstore
WORKDIR /srv/flaskvstore

ENV PATH=/opt/flaskvstore/bin:$PATH
ENV FLASKVSTORE_BIND=0.0.0.0:5000
# Set FLASKVSTORE_STATSD_HOST=HOST:9125 for metrics; without it none are sent.
EXPOSE 5000
# A number and not a name: Kubernetes checks by number that it is not root.
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import os; from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://' + os.environ['FLASKVSTORE_BIND'] + '/health/live')"]
CMD ["gunicorn", "--config", "python:flaskvstore.gunicorn_conf", "flaskvstore.wsgi:app"]
