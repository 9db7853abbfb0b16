"""What all settings of recipes have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Settings(BaseModel):
    """Frozen, and strict about names.

    Attributes:
        LATER: fields that earlier releases had not. They are not written where they are None, so that runs that were
            kept before are found again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    LATER: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        return {name: value for name, value in values.items() if value is not None or name not in self.LATER}
