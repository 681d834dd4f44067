# syntax=docker/dockerfile:1
# The service alone. Pin BASE by digest for production. A package index of your own:
#   docker build --secret id=pipconf,src=$HOME/.config/pip/pip.conf --tag impactd .
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /src
RUN python -m venv /opt/impactd && python -m venv /opt/build
COPY requirements/run.lock requirements/build.lock requirements/
RUN --mount=type=secret,id=pipconf,target=/etc/pip.conf \
    /opt/impactd/bin/pip install --no-cache-dir --require-hashes --requirement requirements/run.lock \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes --requirement requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY daemon daemon
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/impactd/bin/pip install --no-cache-dir --no-deps dist/*.whl

FROM ${BASE}
RUN useradd --system --uid 10001 --create-home impactd
COPY --from=build /opt/impactd /opt/impactd
# Compiled kernels are kept in the cache: mount a volume there to keep them over restarts.
ENV PATH=/opt/impactd/bin:$PATH PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/home/impactd/.cache/numba
USER 10001
WORKDIR /home/impactd
# Healthy is whoever reaches the brokers and finds the topics as they should be, by the same settings as the service.
HEALTHCHECK --interval=60s --timeout=20s --start-period=60s CMD ["impactd", "topics", "check"]
ENTRYPOINT ["impactd"]
CMD ["run"]
