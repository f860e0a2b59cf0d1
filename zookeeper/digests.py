"""Content by size and digest, as the Hub names it: in memory or in a file alike."""

from __future__ import annotations

import hashlib
from pathlib import Path

SHA256 = "sha256:"
"""How the digest of a file begins that is no small one of git's."""


def digest_like(digest: str, content: bytes | Path) -> str:
    """Digest of the same kind as another: ``git:…`` or ``sha256:…``.

    Args:
        digest: the other, or how it begins.
        content: bytes, or the file that holds them.
    """
    if digest.startswith("git:"):
        return f"git:{_git_blob(content if isinstance(content, bytes) else content.read_bytes())}"
    if isinstance(content, bytes):
        return f"{SHA256}{hashlib.sha256(content).hexdigest()}"
    with content.open("rb") as file:
        return f"{SHA256}{hashlib.file_digest(file, 'sha256').hexdigest()}"


def size_of(content: bytes | Path) -> int:
    """Bytes of content, or of the file that holds it."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _git_blob(data: bytes) -> str:
    """The name git gives to a file's content, by which small files go on the Hub."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
