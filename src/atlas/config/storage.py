"""Where sessions are kept."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from atlas.config.llm import Block


class StorageConfig(Block):
    """A Postgres database: a given one, or one that starts by itself under `.atlas/`."""

    database_url: str | None = Field(default=None, repr=False)
    """`postgresql://user@host/name`; `${NAME}` is read from the environment. None takes the embedded database."""
    embedded: bool = True
    """Whether the embedded database may be started when no URL is given."""
    min_connections: int = Field(default=1, ge=0, le=1000)
    """Connections kept open."""
    max_connections: int = Field(default=5, ge=1, le=1000)
    """Connections at most."""
    statement_timeout_seconds: float = Field(default=30.0, gt=0)
    """Seconds for one statement."""

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        return url

    @model_validator(mode="after")
    def _consistent(self) -> StorageConfig:
        if self.min_connections > self.max_connections:
            raise ValueError("min_connections is larger than max_connections")
        if self.database_url is None and not self.embedded:
            raise ValueError(
                "without the embedded database a database_url is needed (storage: null keeps all in memory)"
            )
        return self
