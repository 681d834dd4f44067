"""Settings of the schema registry."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from impactd.config.base import Secret, Section


class RegistrySection(Section):
    """The schema registry of values in Avro and Protobuf."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/\S*)?$")] | None = None
    """Address of a Confluent-compatible registry, http or https; unset: values are JSON only."""
    username: Annotated[str, Field(pattern=r"^[^\s:]+$")] | None = None
    """User of the registry."""
    password: Secret | None = None
    """Password of the registry; from the environment or password_file only."""
    password_file: str | None = None
    """File that holds the password of the registry."""
    ca_file: str | None = None
    """PEM file of the authorities that may sign the registry's certificate; the system's by default."""
    register_schemas: bool = True
    """Whether schemas of outputs are registered at the start; false: they must be there already."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password (or password_file) belong together: give both or neither")
        return self
