# The service as an image: `make image` builds it, `make image-test` runs it. See "Deployment" in README.md.
# It needs FLASKVSTORE_REDIS_URL when it starts; every other setting has its default.

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
# Debian's latest fixes for Python are wanted: no version is pinned.
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
# A number, so that Kubernetes sees that it is not root.
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import os; from urllib import request; request.urlopen('http://' + os.environ['FLASKVSTORE_BIND'] + '/health/live')"]
CMD ["gunicorn", "--config", "python:flaskvstore.gunicorn_conf", "flaskvstore.wsgi:app"]
