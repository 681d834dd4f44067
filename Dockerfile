# The service alone, on any base with Python 3.11 or later (python3, its venv module, CA certificates, glibc). Needs BuildKit.
# Pin BASE by digest in production. See deploy/README.md.
ARG BASE=python:3.12-slim
# Compile kernels for every processor of the image's architecture, or for one kind of processor (LLVM's names).
ARG CPU=generic
ARG CPU_FEATURES=

FROM ${BASE} AS build
WORKDIR /src
ENV PYTHONDONTWRITEBYTECODE=1
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/impactd
COPY requirements/*.lock requirements/
# Extra to install: none, "solvers" or "research".
ARG EXTRAS=
# Your own package index and its certificate authority: secrets, so that neither stays in a layer.
RUN --mount=type=secret,id=pipconf,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca.pem \
    pip="/opt/build/bin/pip --disable-pip-version-check --no-cache-dir" \
 && if [ -e /run/secrets/ca.pem ]; then export PIP_CERT=/run/secrets/ca.pem; fi \
 && $pip --python /opt/impactd/bin/python3 install --no-compile --require-hashes --requirement "requirements/${EXTRAS:-run}.lock" \
 && $pip install --require-hashes --requirement requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY replay_data replay_data
COPY daemon daemon
# Bytecode is compiled here, because nothing can write it later. The libraries' own tests are removed.
RUN /opt/build/bin/pip --disable-pip-version-check wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/build/bin/pip --disable-pip-version-check --python /opt/impactd/bin/python3 install --no-compile --no-deps --no-index dist/*.whl \
 && find /opt/impactd/lib -depth -type d -name tests -exec rm -rf {} + \
 && /opt/impactd/bin/python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/impactd/lib
ARG CPU
ARG CPU_FEATURES
RUN NUMBA_CPU_NAME=${CPU} NUMBA_CPU_FEATURES=${CPU_FEATURES} NUMBA_CACHE_DIR=/opt/impactd/kernels /opt/impactd/bin/impactd compile

FROM ${BASE}
ARG CPU
ARG CPU_FEATURES
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="impactd" \
      org.opencontainers.image.description="Live order books in, least-impact execution schedules out." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --system --gid 10001 impactd \
 && useradd --system --uid 10001 --gid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin impactd \
 && install --directory --owner=10001 --group=10001 /var/cache/impactd
COPY --from=build /opt/impactd /opt/impactd
ENV PATH=/opt/impactd/bin:$PATH \
    PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1 MPLCONFIGDIR=/var/cache/impactd/matplotlib \
    NUMBA_CPU_NAME=${CPU} NUMBA_CPU_FEATURES=${CPU_FEATURES} NUMBA_CACHE_DIR=/var/cache/impactd IMPACTD_KERNELS=/opt/impactd/kernels
# The only path written to; writable under a read-only root too.
VOLUME ["/var/cache/impactd"]
USER 10001:10001
WORKDIR /etc/impactd
EXPOSE 9464 9470
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 CMD ["impactd", "health"]
ENTRYPOINT ["impactd"]
CMD ["run"]
