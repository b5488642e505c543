# One image for every role: `stream run receiver`, `stream run profiles`, `stream topics create`, … It reads
# stream.toml, processors/ and connectors/ from /etc/stream, and writes nothing but what [spill] says.
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
WORKDIR /src
RUN python -m venv /opt/stream
ENV PATH=/opt/stream/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements.txt ./
RUN python -m pip install --require-hashes --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY connectors connectors
COPY processors processors
COPY stream stream
# What only builds stays behind; pip last, since it takes itself away.
RUN python -m pip install --no-deps --no-build-isolation . \
 && python -m pip uninstall --yes hatchling pathspec pluggy trove-classifiers pip

FROM ${PYTHON}
LABEL org.opencontainers.image.title="segment-stream" \
      org.opencontainers.image.description="Receives Twilio Segment's events durably and runs consumer groups over them" \
      org.opencontainers.image.licenses="Apache-2.0"
# The numbers are fixed, so that a volume's files stay ours, and `runAsNonRoot` can check them.
RUN groupadd --gid 10001 stream \
 && useradd --uid 10001 --gid stream --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin stream \
 && install --directory --owner=stream --group=stream --mode=0700 /var/lib/stream
COPY --from=build /opt/stream /opt/stream
ENV PATH=/opt/stream/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /etc/stream
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/ready', timeout=4)"]
ENTRYPOINT ["stream"]
CMD ["run"]
