"""Bytes that must not be shown."""

from typing import Final, NoReturn, Self, SupportsIndex, final

MASK: Final = "***"


@final
class Secret:
    """Secret bytes. Text forms give `***`; pickling (so JSON and process pools too) is refused.

    Compares by identity. Reading the value is explicit: `reveal()`, at the last moment, and not kept in a
    local variable across calls that may raise (some traceback printers show locals).
    """

    __slots__ = ("__value",)

    def __init__(self, value: bytes) -> None:
        self.__value = bytes(value)

    def reveal(self) -> bytes:
        return self.__value

    def __repr__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")
