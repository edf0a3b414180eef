# Training and export: contracts, training and export rooms.
FROM python:3.11-slim
WORKDIR /enfold
COPY pyproject.toml README.md LICENSE ./
COPY enfold enfold
COPY training training
COPY export export
RUN pip install --no-cache-dir '.[train,cpu]' && useradd --create-home enfold && mkdir /data && chown enfold /data
USER enfold
ENV ENFOLD_HOME=/data
VOLUME /data
ENTRYPOINT ["enfold"]
CMD ["run", "gmml"]
