"""Records as what JSON can hold, and back; foreign text, and numbers of things, as what can be shown."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from zookeeper.errors import IntegrityError, UsageError

R = TypeVar("R")

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
"""Letters of sizes and what they multiply by."""


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def plain(record: Any) -> Any:
    """A record as dictionaries, lists, strings and numbers."""
    return _adapter(type(record)).dump_python(record, mode="json")


def encode(record: Any) -> bytes:
    """A record as JSON that people can read."""
    return json.dumps(plain(record), indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass")


def decode(kind: type[R], data: Any) -> R:
    """A record from JSON text, or from what JSON holds.

    Raises:
        IntegrityError: it is no such record.
    """
    adapter = _adapter(kind)
    try:
        record: R = (
            adapter.validate_json(data) if isinstance(data, str | bytes) else adapter.validate_python(data)
        )
    except ValidationError as error:
        raise IntegrityError(
            f"a stored {kind.__name__.lower()} cannot be read.", why=str(error.errors()[0]["msg"])
        ) from error
    return record


def spelt_out(text: object) -> str:
    """Text that does nothing but show: control, bidirectional and invisible characters are spelt out."""
    return "".join(
        char if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else _escape(char)
        for char in str(text)
    )


def shortened(text: str, longest: int) -> str:
    """Text of at most so many characters; a longer one loses its middle."""
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[: longest - 1 - half]}…{text[-half:]}"


def count(n: int, what: str) -> str:
    """A number of things; `what` is one of them."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def bytes_of(text: str) -> int:
    """Bytes that a user writes as 500MB or 8GB.

    Raises:
        UsageError: it is no size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if not found:
        raise UsageError(f'"{text}" is no size.', fix="such as 500MB or 8GB")
    return int(float(found[1]) * UNITS[found[2].upper()])


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
