"""Whether a zoo can work here: libraries, folders, the index, the Hub, hardware, and what keeps it safe.

Each thing is looked at by a function of its own, by a real try where there is one, and none stops the others.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, requires, version
from multiprocessing import TimeoutError as TooSlowError
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from packaging.requirements import Requirement

from zookeeper import hardware, worker
from zookeeper.errors import AccessError, CheckpointError, NetworkError, ZooError
from zookeeper.plain import count, refusal, size
from zookeeper.results import Check, Health
from zookeeper.settings import Settings
from zookeeper.store import Store
from zookeeper.store.files import write_synced
from zookeeper.store.mounts import file_system_of, is_network
from zookeeper.worker import Limits, Walls
from zookeeper.worker.keeper import FORKS

if TYPE_CHECKING:
    from zookeeper.hub import Account, Answer, Hub

_DISTRIBUTION = "hf-zoo"
_USUAL = "https://huggingface.co"
_HUB_CACHE = "hub cache"
_CONNECT = "check the connection, and HTTPS_PROXY"
_OFFLINE = "HF_HUB_OFFLINE"
_PATIENCE = 5.0  # seconds for all that is asked of the Hub
_SKEW = 300.0  # seconds after which signed addresses of downloads are refused
_LITTLE, _NOTHING = 2 * 10**9, 10**8  # bytes
_FILTERS = "use Linux on x86-64 or 64-bit ARM; else run zoo as another user"
_SECONDS_TO_START = 120.0  # at most, of a worker


@dataclass(frozen=True, slots=True)
class Doctor:
    """Looks at all that a zoo needs.

    Attributes:
        settings: of the zoo.
        store: that keeps things; it need not exist yet.
        hub: gives the Hub; called only where it may be asked.
        patience: seconds that the Hub may take for everything.
    """

    settings: Settings
    store: Store
    hub: Callable[[], Hub]
    patience: float = _PATIENCE

    @property
    def limits(self) -> Limits:
        """Of the worker that is started."""
        return Limits(self.settings.memory, min(_SECONDS_TO_START, self.settings.patience))

    def examine(self, *, fix: bool = False) -> tuple[Check, ...]:
        """What was found, thing by thing.

        A worker is started for it, which takes some seconds; they pass while the rest is looked at.

        Args:
            fix: whether to make missing folders and the index, to sweep leftovers, and to keep everybody from
                writing to the user's own folders; what their group alone may do stays. Of a problem that is
                not mended it is said.
        """
        with suppress(OSError):  # what keeps it from starting comes up again where it is needed
            worker.prepare(self.limits)
        found: list[Check] = []
        for name, look in _LOOKS.items():
            try:
                found += look(self, fix)
            except (ZooError, OSError) as error:
                said = error.message if isinstance(error, ZooError) else f"{refusal(error)}."
                found.append(Check(name, "problem", said, getattr(error, "fix", None)))
        return tuple(map(_unmended, found) if fix else found)


def _unmended(check: Check) -> Check:
    """A check after mending was asked for: what still is a problem is not for zoo to mend."""
    if check.state != "problem":
        return check
    return replace(check, says=f"{check.says.rstrip('.')}; --fix cannot mend that.")


def _libraries(doctor: Doctor, fix: bool) -> Iterator[Check]:
    try:
        needed = [Requirement(text) for text in requires(_DISTRIBUTION) or ()]
    except PackageNotFoundError:
        yield Check(
            "libraries", "warning", "zoo runs from a folder and not installed; nobody says what it needs."
        )
        return
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    have = {one.name: _version(one.name) for one in needed}
    lacking = [one for one in needed if not _serves(have[one.name], one)]
    for one in lacking:
        yield Check(
            "libraries",
            "problem",
            f"{one.name} is {have[one.name] or 'missing'}; it takes {one.specifier or 'any'}.",
            f'pip install --upgrade "{one.name}{one.specifier}"',
        )
    if not lacking:
        shown = ", ".join(f"{name} {have[name]}" for name in ("torch", "transformers", "huggingface_hub"))
        yield Check("libraries", "ok", f"all {len(needed)} are as new as they must be: {shown}.")
    if importlib.util.find_spec("kernels"):
        yield Check(
            "kernels",
            "warning",
            "the package kernels is here, which fetches code and runs it; zoo uses it for nothing.",
            "pip uninstall kernels",
        )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _serves(there: str | None, needed: Requirement) -> bool:
    return there is not None and needed.specifier.contains(there, prereleases=True)


def _folders(doctor: Doctor, fix: bool) -> Iterator[Check]:
    settings = doctor.settings
    for name, folder, ours in (
        ("home", settings.home, True),
        ("cache", settings.cache, True),
        (_HUB_CACHE, settings.hub_cache, False),
    ):
        yield _folder(name, folder, fix=fix and ours)


def _folder(name: str, folder: Path, *, fix: bool) -> Check:
    missing = not folder.exists()
    if missing and fix:
        folder.mkdir(parents=True)
    there = _nearest(folder)
    if not there.is_dir():
        return Check(name, "problem", f"{there} is no folder.", _elsewhere(name))
    if not _writable(there):
        health: Health = "warning" if name == _HUB_CACHE else "problem"
        return Check(name, health, f"{there} cannot be written to.", _elsewhere(name))
    free = shutil.disk_usage(there).free
    if free < _LITTLE:
        health = "problem" if free < _NOTHING else "warning"
        return Check(name, health, f"{folder} has {size(free)} left.", f"zoo gc; or {_elsewhere(name)}")
    room = f"{size(free)} free"
    if not folder.exists():
        return Check(name, "ok", f"{folder} is not there yet; it is made when it is needed ({room}).")
    status = folder.stat()
    if status.st_uid not in (os.geteuid(), 0):
        return Check(name, "warning", f"{folder} belongs to another user.", _elsewhere(name))
    closable = status.st_uid == os.geteuid() and not status.st_mode & stat.S_ISVTX
    others = _may_write(status.st_mode)
    closed = fix and closable and "o" in others  # where all may write, nobody gave it to a group on purpose
    if closed:
        group = stat.S_IWGRP if "g" in others else 0
        folder.chmod(stat.S_IMODE(status.st_mode) & ~(stat.S_IWOTH | group))
    elif others:
        command = f"chmod {others}-w {shlex.quote(str(folder))}" if closable else _elsewhere(name)
        left = "; --fix leaves that to you" if fix else ""
        return Check(name, "warning", f"other users may write to {folder}{left}.", command)
    made = "made, " if fix and missing else ""
    return Check(name, "ok", f"{folder} ({made}{room}).", mended=closed)


def _may_write(mode: int) -> str:
    """Who else may write to a folder, as ``chmod`` calls them; setgid says that a group is meant to."""
    group = mode & stat.S_IWGRP and not mode & stat.S_ISGID
    return ("g" if group else "") + ("o" if mode & stat.S_IWOTH else "")


def _elsewhere(name: str) -> str:
    variable = {"home": "ZOO_HOME", "cache": "ZOO_CACHE"}.get(name, "HF_HUB_CACHE")
    return f"set {variable} to another folder"


def _nearest(folder: Path) -> Path:
    """The folder, or of those that it is to lie in the last one that exists."""
    return next(one for one in (folder, *folder.parents) if one.exists())


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _file_system(doctor: Doctor, fix: bool) -> Iterator[Check]:
    folder = _nearest(doctor.settings.home)
    if not _writable(folder):
        return  # which was said of the home
    kind = file_system_of(folder) or "unknown kind"
    if fault := _fault_of_file_system(folder):
        yield Check("file system", "problem", f"{kind}: {fault}.", "set ZOO_HOME to a local disk")
    elif is_network(kind):
        said = f"{kind}, which several machines may see: the index lies in {doctor.store.index_path.parent}."
        yield Check("file system", "ok", said)
    else:
        yield Check("file system", "ok", f"{kind}; it renames, syncs and locks.")


def _fault_of_file_system(folder: Path) -> str | None:
    """What it does not do of all that keeps files whole."""
    with tempfile.TemporaryDirectory(prefix=".zoo-doctor-", dir=folder) as place:
        old, new = Path(place, "old"), Path(place, "new")
        tries: dict[str, Callable[[], object]] = {
            "it cannot sync a file": lambda: write_synced(new, b"zoo"),
            "it cannot put a file in the place of another": lambda: _swap(new, old),
            "it cannot sync a folder": lambda: _sync(Path(place)),
        }
        for fault, attempt in tries.items():
            try:
                attempt()
            except OSError as error:
                return f"{fault} ({refusal(error)})"
        return None if _locks(Path(place, "lock")) else "its locks do not hold"


def _swap(new: Path, old: Path) -> None:
    old.write_bytes(b"")
    new.replace(old)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _locks(path: Path) -> bool:
    """Whether a lock that is held cannot be had a second time."""
    with suppress(OSError, NotImplementedError), FileLock(path):
        try:
            FileLock(path, is_singleton=False).acquire(blocking=False)
        except Timeout:
            return True
    return False


def _index(doctor: Doctor, fix: bool) -> Iterator[Check]:
    store = doctor.store
    n = len(store.checkpoints())
    fault, mended = store.index_fault(), False
    if fix and n and (fault or not store.index_path.exists()):
        store.rebuild()
        fault, mended = store.index_fault(), True
    if fault:
        yield Check("index", "warning", f"{store.index_path}: {fault}.", "zoo db rebuild")
    elif not store.index_path.exists():
        yield Check("index", "ok", "not there yet; it is made when something is stored.")
    else:
        yield Check("index", "ok", f"{store.index_path} ({count(n, 'checkpoint')}).", mended=mended)
    if unreadable := store.unreadable_pins():
        said = f"{count(len(unreadable), 'pin')} cannot be read, such as {unreadable[0]}."
        yield Check(
            "pins", "problem", said, "zoo verify names them; remove the files and add the checkpoints"
        )


def _leftovers(doctor: Doctor, fix: bool) -> Iterator[Check]:
    found = doctor.store.sweep() if fix else doctor.store.leftovers()
    if not found:
        yield Check("leftovers", "ok", "none.")
        return
    taken = size(sum(one.size for one in found))
    said = f"{count(len(found), 'thing')} that nothing reads, {taken}."
    yield Check("leftovers", "ok" if fix else "warning", said, "zoo gc --yes", mended=fix)


def _network(doctor: Doctor, fix: bool) -> Iterator[Check]:
    endpoint = doctor.settings.endpoint
    yield from _address(endpoint)
    if doctor.settings.offline:
        yield Check("Hub", "ok", "offline: HF_HUB_OFFLINE is set, and nobody is asked.")
        return
    hub = doctor.hub()
    with ThreadPool(2) as pool:  # of daemons: a Hub that never answers keeps nobody
        reached = pool.apply_async(hub.reach, (doctor.patience,))
        account = pool.apply_async(hub.account)
        try:
            answer = reached.get(doctor.patience)
        except TooSlowError:
            said = f"{endpoint} gave no answer within {doctor.patience:.0f} s."
            yield Check("Hub", "problem", said, f"{_CONNECT}; or set {_OFFLINE}=1")
            return
        except NetworkError as error:
            said = f"{error.message.rstrip('.')}: {error.why}." if error.why else error.message
            advice = error.fix or _CONNECT
            yield Check(
                "Hub", "problem", said, advice if _OFFLINE in advice else f"{advice}; or set {_OFFLINE}=1"
            )
            return
        yield from _answered(endpoint, answer)
        try:
            yield _token(endpoint, account.get(doctor.patience))
        except TooSlowError:
            yield Check("token", "warning", f"{endpoint} did not say whose it is in time.")
        except AccessError as error:
            yield Check("token", "problem", f"the Hub did not accept it: {error.why}.", error.fix)
        except ZooError as error:
            yield Check("token", "warning", error.message, error.fix)


def _address(endpoint: str) -> Iterator[Check]:
    """Whether the Hub is the usual one, and if not, whether a token is safe with it."""
    parts = urlsplit(endpoint)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        said = f"{endpoint} is not encrypted: your token goes there for all to read."
        yield Check("endpoint", "problem", said, "set HF_ENDPOINT to an https address, or unset it")
    elif endpoint != _USUAL:
        said = f"{endpoint}, by HF_ENDPOINT: your token goes there."
        yield Check("endpoint", "warning", said, "unset HF_ENDPOINT, if that is not meant")


def _answered(endpoint: str, answer: Answer) -> Iterator[Check]:
    yield Check("Hub", "ok", f"{endpoint} answers, in {answer.seconds:.1f} s.")
    if answer.ahead is not None and abs(answer.ahead) > _SKEW:
        side = "ahead of" if answer.ahead > 0 else "behind"
        said = f"this machine is {abs(answer.ahead) / 60:,.0f} minutes {side} the Hub."
        yield Check("clock", "warning", said, "set the clock; downloads are signed for minutes only")


def _token(endpoint: str, account: Account | None) -> Check:
    if account is None:
        return Check("token", "ok", "none; public repositories need none.")
    if account.may_write:
        return Check("token", "ok", f"of {account.name}, which may write.")
    said = f"of {account.name}, which may read only: zoo push would fail."
    return Check("token", "warning", said, f"make one that may write at {endpoint}/settings/tokens")


def _hardware(doctor: Doctor, fix: bool) -> Iterator[Check]:
    device = hardware.best_device(doctor.settings.device)
    gpus, cores, memory = hardware.gpus(), hardware.cores(), hardware.memory()
    reads = doctor.settings.dtype if doctor.settings.dtype != "auto" else hardware.precision(device)
    parts = [
        count(gpus, "GPU") if gpus else "no GPU",
        count(cores, "core"),
        f"{size(memory)} of memory",
    ]
    health: Health = "warning" if memory < _LITTLE else "ok"
    yield Check("hardware", health, f"{', '.join(parts)}; checkpoints are read on {device} in {reads}.")


def _room(doctor: Doctor, fix: bool) -> Iterator[Check]:
    """A worker is started, as for a checkpoint, and says itself what it found closed."""
    began = time.monotonic()
    try:
        walls = worker.look(doctor.limits, hardware.best_device(doctor.settings.device))
    except CheckpointError as error:
        said = f"no worker starts, and no checkpoint can be read: {error.message.rstrip('.')}."
        said = f"{said.rstrip('.')} ({error.why})." if error.why else said
        advice = "python -c 'import torch, transformers' may say more; see libraries above"
        yield Check("room", "problem", said, error.fix or advice)
        return
    stand = f"a worker started, in {time.monotonic() - began:.1f} s; checkpoints run in "
    stand += "a process of their own" + ("" if FORKS else ", started anew for each")
    looked = tuple(_walls(walls))
    stand = ", ".join([stand, *(wall.does for wall in looked if wall.stands)])
    lacking = [wall for wall in looked if not wall.stands]
    if not lacking:
        yield Check("room", "ok", f"{stand}.")
        return
    without = ", and ".join(wall.without for wall in lacking)
    advice = "; ".join(dict.fromkeys(wall.fix for wall in lacking))
    yield Check("room", "warning", f"{stand}; but {without}.", advice)


class _Wall(NamedTuple):
    """A wall of the room: whether it stands, what it then does, what is so without it, and what to do."""

    stands: bool
    does: str
    without: str
    fix: str


def _walls(walls: Walls) -> Iterator[_Wall]:
    yield _Wall(
        walls.alone or walls.calls,
        "without a network",
        "their network is watched and not taken away" + (", but for TCP" if walls.tcp else ""),
        "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1",
    )
    yield _Wall(
        bool(walls.landlock),
        f"with no files but their own (Landlock {walls.landlock})",
        "native code in them could read your files",
        "use a Linux of 5.13 or later with Landlock in /sys/kernel/security/lsm; "
        "else run zoo as another user",
    )
    yield _Wall(
        walls.calls,
        "with no programs and no signals to others",
        "native code in them could start programs, end yours, and change who may read your files",
        _FILTERS,
    )
    yield _Wall(
        walls.apart,
        "out of reach of what else runs here",
        "native code in them could give orders to programs that listen on this machine, such as a session bus"
        + (", as connecting to NVIDIA's MPS must stay allowed" if walls.calls else ""),
        "stop MPS, or set ZOO_DEVICE=cpu" if walls.calls else _FILTERS,
    )
    yield _Wall(
        walls.memory,
        "with a memory cap",
        "their memory has no cap",
        "set a limit from outside, such as that of a container",
    )


def _safety(doctor: Doctor, fix: bool) -> Iterator[Check]:
    agreed = sum(checkpoint.pickled for checkpoint in doctor.store.checkpoints())
    pickles = f"pickles of {count(agreed, 'checkpoint')}, as agreed" if agreed else "no pickles"
    yield Check("safety", "ok", f"{pickles}; no code of checkpoints; no conversion by the Hub.")


_LOOKS: dict[str, Callable[[Doctor, bool], Iterator[Check]]] = {
    "libraries": _libraries,
    "folders": _folders,
    "file system": _file_system,
    "index": _index,
    "leftovers": _leftovers,
    "Hub": _network,
    "hardware": _hardware,
    "safety": _safety,
    "room": _room,  # last: what it waits for was begun first
}
