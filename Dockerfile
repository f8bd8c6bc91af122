# Two images: `serve` (no torch, the default of the chart) and `train` (with torch). Name the target:
#   docker build --target serve -t monitor:0.1.0 .
#   docker build --target train --build-arg TORCH_INDEX=... -t monitor-train:0.1.0 .
# TORCH_INDEX is PyTorch's package index for the CPU, or for another CUDA; without it, the wheel with all of CUDA (5 GB).
# Dependencies are a layer of their own, so that a change of the code moves less than 3 MB.
ARG BASE=python:3.11-slim

# What each target needs, read out of pyproject.toml: constraints.txt holds the versions of everything, CUDA included.
FROM ${BASE} AS packages
WORKDIR /build
COPY pyproject.toml constraints.txt ./
RUN ["python3", "-c", "import pathlib, tomllib\n\
project = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']\n\
pathlib.Path('serve.txt').write_text('\\n'.join(project['dependencies']))\n\
pathlib.Path('train.txt').write_text('\\n'.join(project['optional-dependencies']['train']))"]
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv --without-pip /opt/monitor \
    && python3 -m pip --python /opt/monitor/bin/python install -r serve.txt -c constraints.txt \
    && find /opt/monitor/lib -depth -type d -name tests -exec rm -r {} +

FROM packages AS program
COPY README.md LICENSE ./
COPY monitor ./monitor
RUN python3 -m pip --python /opt/monitor/bin/python install --no-deps --prefix /program .

# What both images are when they run.
FROM ${BASE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The root may be read-only: no byte code is written, and no device id of ONNX Runtime's.
ENV PATH=/opt/monitor/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1 HOME=/tmp
WORKDIR /tmp
USER 10001:10001
# The process itself, no shell: SIGTERM reaches it, and it finishes its batch.
ENTRYPOINT ["monitor"]

FROM runtime AS serve
LABEL org.opencontainers.image.title="monitor" \
      org.opencontainers.image.description="Streaming anomaly monitoring: Kafka in, LSTM autoencoder, incidents out"
COPY --from=packages /opt/monitor /opt/monitor
COPY --from=program /program /opt/monitor
EXPOSE 9108
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('MONITOR_WEB__PORT', '9108') + '/livez', timeout=4)"]
CMD ["run"]

# torch from an index of its own where one is given (PyTorch's for the CPU: a fraction of the size); what it needs, and
# all else, in the versions of constraints.txt.
FROM packages AS training
ARG TORCH_INDEX=""
RUN if [ -n "${TORCH_INDEX}" ]; then \
        python3 -m pip --python /opt/monitor/bin/python install --no-deps --index-url "${TORCH_INDEX}" -c constraints.txt torch; \
    fi \
    && python3 -m pip --python /opt/monitor/bin/python install -r train.txt -c constraints.txt

FROM runtime AS train
LABEL org.opencontainers.image.title="monitor-train" \
      org.opencontainers.image.description="monitor with what learning needs: monitor train"
COPY --from=training /opt/monitor /opt/monitor
COPY --from=program /program /opt/monitor
CMD ["train", "--help"]
