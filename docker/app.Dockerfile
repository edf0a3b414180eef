# The explorer: contracts and app room alone.
FROM python:3.11-slim
WORKDIR /enfold
COPY pyproject.toml README.md LICENSE ./
COPY enfold enfold
COPY app app
RUN pip install --no-cache-dir '.[app]' && useradd --create-home enfold
USER enfold
EXPOSE 8501
CMD ["enfold", "app", "--host", "0.0.0.0"]
