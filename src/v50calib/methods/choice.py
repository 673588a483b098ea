"""The name of a registered method as the type of a config key."""

from __future__ import annotations

from typing import Any

from pydantic import AfterValidator, GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from v50calib.methods.kinds import KINDS
from v50calib.methods.registry import checked_options, find

#: description of the key `options`
OPTIONS = "parameters of a registered method, by name; none for the built-in ones"


class Registered:
    """`Literal["columns", …] | Annotated[str, Registered("photometry.background")]`: besides the built-in names the registered ones."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def _check(self, value: Any) -> str:
        if not isinstance(value, str) or find(self.kind, value) is None:
            # told as a wrong choice among all names is
            raise PydanticCustomError("literal_error", "not the name of a method")
        return value


def options_of(kind: str) -> AfterValidator:
    """For the key `options` that stands after the method's own in a section: checked by the method's model, which fills the defaults in."""
    chooser = KINDS[kind].key.rpartition(".")[2]

    def check(value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        chosen = info.data.get(chooser)
        return value if chosen is None else checked_options(kind, chosen, value)

    return AfterValidator(check)
