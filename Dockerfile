FROM python:3.12-slim AS build
WORKDIR /source
# First what changes seldom, so that it is kept from build to build.
COPY packaging/requirements.lock ./
RUN pip wheel --no-cache-dir --no-deps --require-hashes --wheel-dir /wheels --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY happy happy
COPY twisted twisted
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
# A user id that has no name needs the library to make the database, see happy/postgres/child.py.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnss-wrapper \
    && rm -rf /var/lib/apt/lists/*
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'happy-server[s3]' \
    # Twisted caches its list of plugins where the ordinary user may not write.
    && python -c "from twisted.plugin import getPlugins; from twisted.application.service import IServiceMaker; list(getPlugins(IServiceMaker))" \
    && useradd --uid 1000 --create-home happy \
    && install --directory --owner happy --group root --mode 770 /data
USER happy
WORKDIR /home/happy
ENV DATA_DIR=/data HAPPY_METRICS_HOST=0.0.0.0 PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 3005 9090
HEALTHCHECK --start-period=30s --interval=30s --timeout=5s \
    CMD ["python", "-m", "happy.operator.healthy"]
CMD ["twistd", "--nodaemon", "--pidfile=", "happy"]
