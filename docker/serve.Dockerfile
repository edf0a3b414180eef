# The server: contracts and serving room alone, no torch. serve-gpu.Dockerfile is its twin for NVIDIA GPUs.
FROM python:3.11-slim
WORKDIR /enfold
COPY pyproject.toml README.md LICENSE ./
COPY enfold enfold
COPY serving serving
RUN pip install --no-cache-dir '.[batch,trace,triton,cpu]' && useradd --create-home enfold && mkdir /data && chown enfold /data
USER enfold
ENV ENFOLD_HOME=/data ENFOLD_HOST=0.0.0.0
VOLUME /data
EXPOSE 3000
# ENFOLD_API_KEY must be set: a server that others can reach wants a key.
ENTRYPOINT ["enfold"]
CMD ["serve", "emoji"]
