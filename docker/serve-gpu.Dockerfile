# The server on an NVIDIA GPU: serve.Dockerfile with ONNX Runtime's CUDA build, whose libraries come as wheels (CUDA 13).
FROM python:3.11-slim
WORKDIR /enfold
COPY pyproject.toml README.md LICENSE ./
COPY enfold enfold
COPY serving serving
RUN pip install --no-cache-dir '.[batch,trace,triton]' 'onnxruntime-gpu[cuda,cudnn]>=1.31,<2' \
    && useradd --create-home enfold && mkdir /data && chown enfold /data
USER enfold
ENV ENFOLD_HOME=/data ENFOLD_HOST=0.0.0.0
ENV SITE=/usr/local/lib/python3.11/site-packages
ENV LD_LIBRARY_PATH=$SITE/nvidia/cu13/lib:$SITE/nvidia/cudnn/lib
VOLUME /data
EXPOSE 3000
# ENFOLD_API_KEY must be set: a server that others can reach wants a key.
ENTRYPOINT ["enfold"]
CMD ["serve", "emoji"]
