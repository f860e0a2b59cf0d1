"""Records as what JSON can hold, and back; foreign text, and numbers of things, as what can be shown."""

from __future__ import annotations

import json
import os
import re
import time
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from zookeeper.errors import IntegrityError, UsageError

R = TypeVar("R")

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
"""Letters of sizes and what they multiply by."""

TOKENS = "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"
"""Variables of the environment that hold the token of the Hub."""

_SECRETS = re.compile(
    r"(?P<token>(?:hf_|api_org_)[A-Za-z0-9]{8,})"
    r"|(?P<header>(?i:\b(?:proxy-)?authorization|\bcookie|\bx-api-key)['\"]?\s?[:=]\s?b?['\"]?"
    r"(?:(?i:bearer|basic|token)\s)?)[^\s'\",;]+"
    r"|(?P<bearer>(?i:\bbearer)\s)[\w.~+/=-]{8,}"
    r"|(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{0,20}://)[^\s/?#@'\"]{1,500}@"
    r"|(?P<query>(?i:(?:[?&;]|\b(?=x-(?:amz|goog)-))"
    r"(?:x-(?:amz|goog)-[\w-]{1,40}|[\w-]{0,20}(?:token|secret|signature|password|key|key-?id|accessid)"
    r"|sig|policy|pwd|auth|jwt)=))[^\s&;#'\"<>]+"
)
"""A token; what follows the name of a header that carries one; a user in an address; a signed query."""

_REDACTED = "***"
_READ_AT_MOST = 10_000  # characters of foreign text of which a line is made
_FORMULA = re.compile(
    "'*[=+@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH COMMERCIAL AT}"
    "\N{FULLWIDTH HYPHEN-MINUS}-]"
)
"""How what a spreadsheet runs begins, whatever apostrophes are before it."""


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


def spelt_out_lines(text: str) -> str:
    """The same of a text of several lines, which stay lines."""
    return "\n".join(map(spelt_out, text.split("\n")))


def redacted(text: object, environ: Mapping[str, str] = os.environ) -> str:
    """Text without secrets: tokens, headers and queries that carry them, names and passwords in addresses.

    Args:
        text: such as a message of a server, or a traceback.
        environ: holds tokens, of any form, under the names `TOKENS`.
    """
    held = sorted((environ[name] for name in TOKENS if environ.get(name)), key=len, reverse=True)
    found = str(text)
    for token in held:
        found = found.replace(token, _REDACTED)
    return _SECRETS.sub(_without_secret, found)


def _without_secret(found: re.Match[str]) -> str:
    if found["scheme"]:
        return f"{found['scheme']}{_REDACTED}@"
    return f"{found['header'] or found['bearer'] or found['query'] or ''}{_REDACTED}"


def brief(text: object, longest: int = 300) -> str:
    """First line of foreign text, short, without secrets, and of characters that only show."""
    line = "".join(str(text)[:_READ_AT_MOST].strip().splitlines()[:1])
    return spelt_out(redacted(line))[:longest]


def csv_cell(value: Any) -> Any:
    """What a spreadsheet shows and does not run: text that would be a formula to it gets an apostrophe."""
    if not isinstance(value, str):
        return value
    text = spelt_out(value)
    return f"'{text}" if _FORMULA.match(text) else text


def of_csv_cell(text: str) -> str:
    """The text of a cell that `csv_cell` made."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def refusal(error: OSError) -> str:
    """Why the system refused, in its words."""
    return (error.strerror or str(error)).lower()


def shortened(text: str, longest: int) -> str:
    """Text of at most so many characters; a longer one loses its middle."""
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[: longest - 1 - half]}…{text[-half:]}"


def count(n: int, what: str) -> str:
    """A number of things; `what` is one of them."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def size(n: int) -> str:
    """Bytes in decimal units, to three digits, as the Hub shows them: "1.4 GB", "84 kB"."""
    amount, unit = float(n), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 999.5:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:,.0f} {unit}" if amount >= 100 else f"{amount:.3g} {unit}"


def expanded(path: str | Path) -> Path:
    """A path that a user names, with ~ for a home.

    Raises:
        UsageError: nobody of that name has one.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{path} is no path here.", why="nobody of that name has a home", fix="write out the path"
        ) from error


def now() -> str:
    """This moment in UTC, as ISO 8601 writes it, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def bytes_of(text: str) -> int:
    """Bytes that a user writes as 500MB or 8GB.

    Raises:
        UsageError: it is no size.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if not found:
        raise UsageError(f'"{text}" is no size.', fix="such as 500MB or 8GB")
    return int(float(found[1]) * UNITS[found[2].upper()])


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
