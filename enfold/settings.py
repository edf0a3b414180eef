"""Settings of one process, read from the environment once, at its door, into one frozen object."""

import os
from pathlib import Path

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from enfold.errors import WrongUse

MOST_ITEMS = 10_000  # that a request is read with, whatever a server allows: more would hold up all others


class Settings(BaseSettings):
    """Every field is also an environment variable: `home` is ENFOLD_HOME."""

    model_config = SettingsConfigDict(env_prefix="ENFOLD_", frozen=True)

    home: Path = Field(default_factory=lambda: user_data_path("enfold"), description="data, runs, bundles and indexes")
    bundles: Path = Field(default_factory=lambda given: given["home"] / "bundles", description="the store of bundles")
    url: str = Field("http://127.0.0.1:3000", description="the server that client, search and app speak to")
    host: str = Field("127.0.0.1", description="address the server binds; anything but loopback needs a key")
    port: int = Field(3000, ge=1, le=65535)
    grpc_port: int | None = Field(None, ge=1, le=65535, description="of the same address, for the inference protocol")
    api_key: SecretStr | None = Field(
        None, description="the key sent as 'Authorization: Bearer …'; a server that has it lets it do everything"
    )
    threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="compute threads of one process"
    )
    runtime: str = Field("auto", description="what runs a server's models: one of enfold.runtime, or auto: the fastest")
    triton_url: str = Field("http://127.0.0.1:8000", description="of runtime triton; grpc://host:8001 speaks gRPC")
    qdrant_url: str = Field(
        "", description="a Qdrant server that holds the collections, in place of this home: http://host:6333"
    )
    qdrant_api_key: SecretStr | None = Field(None, description="the key that the Qdrant server asks for")
    models: str = Field("", description="bundles a server opens: name[@alias or version], separated by commas")
    max_body_bytes: int = Field(32 * 2**20, ge=1)
    max_items: int = Field(256, ge=1, le=MOST_ITEMS, description="items in one request")
    timeout_seconds: float = Field(60.0, gt=0, description="how long a caller waits for one answer")
    queue_seconds: float = Field(5.0, gt=0, description="work that may wait for one model before requests are refused")
    memory_mb: int = Field(
        0, ge=0, description="of models in memory; past it the longest unused is closed; 0: no limit"
    )
    access_log: bool = Field(True, description="a line of JSON to standard error for every request")

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def index(self) -> Path:
        return self.home / "index"

    @property
    def jobs(self) -> Path:
        return self.home / "jobs"

    @property
    def views(self) -> Path:
        return self.home / "views"


def load() -> Settings:
    """Read the environment; a value that makes no sense is named."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "ENFOLD_" + "_".join(str(part) for part in first["loc"]).upper()
        raise WrongUse(f"{name}={first['input']!r}: {first['msg']}") from None
