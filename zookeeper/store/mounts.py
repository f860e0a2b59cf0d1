"""Of what kind the file system is that a path lies on."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

_MOUNTS = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")
# Several machines see the same files there, and locks and memory maps do not hold between them.
_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|lustre|gpfs|beegfs|ceph|afs|9p|panfs|pvfs2|wekafs|fuse(\..+)?", re.ASCII
)


def kind_of_file_system(path: PurePath, mountinfo: str) -> str | None:
    """Kind of the file system on which a path lies, such as ``ext4`` or ``nfs4``.

    Args:
        path: absolute, without links.
        mountinfo: as Linux has it in ``/proc/self/mountinfo``.

    Returns:
        None where nothing of the kind is mounted.
    """
    longest, kind = 0, None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        mounted = PurePath(_OCTAL.sub(lambda code: chr(int(code[1], 8)), fields[4]))
        # Of several that are mounted at one point, the last one is seen.
        if path.is_relative_to(mounted) and len(mounted.parts) >= longest:
            longest, kind = len(mounted.parts), after.split(" ")[0]
    return kind


def is_network(kind: str | None) -> bool:
    """Whether several machines may see the same files on a file system of that kind."""
    return bool(kind and _NETWORK.fullmatch(kind))


def file_system_of(path: Path) -> str | None:
    """Kind of the file system on which a path lies or would lie; None where the system does not say."""
    try:
        mountinfo = _MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return None
    return kind_of_file_system(path.resolve(), mountinfo)
