"""Files by path: the only place where dbgnn itself opens them, to write one or to read what somebody else wrote.

What is written stands under a name nobody can guess until it is on the disk, and takes its own name in one step. What is read
is a regular file: a FIFO would wait for ever, and a device may act on being read. What DuckDB opens is DuckDB's business.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, BinaryIO

from dbgnn.errors import DbgnnError

#: What the name of a temporary file ends in: nothing that anybody could have put there before.
_TEMPORARY = re.compile(r"(?P<name>.+)\.[0-9a-f]{16}\.tmp", re.DOTALL)

#: Bytes of a name that a temporary one begins with; 255 are the most that a name may have.
_NAME = 230

_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotRegularError(DbgnnError, OSError):
    """A path leads to something that is no regular file: a folder, a FIFO, a device, or a link where none is followed."""

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        super().__init__(errno.EINVAL, f"it is {what}, not a regular file", os.fspath(path))

    def __str__(self) -> str:
        return f"{self.filename!r} cannot be used: {self.strerror}."


@contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Lend a new file; once it is on the disk it takes the name ``path``. The file is there whole, or what was there stays.

    Until then it is readable for its owner alone (mode 0600), beside its place, under a name that cannot be guessed, and
    never one that was there before: neither a link nor a file of somebody else's is written to. In the end it has the mode of
    the file that it replaces, or, where there was none, the one that the umask asks for. After an error it is gone.

    Args:
        path: Where it goes. Its folder may be a link, and must be there; what has the name may be a regular file only.

    Yields:
        The file, to be written and read.

    Raises:
        NotRegularError: ``path`` names a link, a folder, a FIFO or a device.
        OSError: The file cannot be written, or what is there may not be.
    """
    target = os.path.abspath(path)
    folder = os.path.dirname(target)
    mode = _mode_of(target)
    name = os.fsdecode(os.fsencode(os.path.basename(target))[:_NAME])
    temporary = os.path.join(folder, f"{name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, 0o600)
    except OSError as error:  # about the name that the caller knows
        raise OSError(error.errno, error.strerror, target) from error
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            with suppress(PermissionError):  # file systems that know no modes, such as exFAT
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        _mode_of(target)  # renaming over a link would lose it without a word
        os.rename(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _mode_of(path: str) -> int:
    """Return the mode that a file of this name is to have; raise if what has the name is no regular file."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return 0o666 & ~_umask()
    if not stat.S_ISREG(found.st_mode):
        raise NotRegularError(path, _kind(found.st_mode))
    if not os.access(path, os.W_OK):  # renaming asks the folder alone
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return found.st_mode & 0o777


def _umask() -> int:
    """Return the process's umask. Where /proc does not show it, it is read by setting it for a moment, to the strictest."""
    with suppress(OSError, ValueError), open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    found = os.umask(0o077)
    os.umask(found)
    return found


def _sync_folder(folder: str) -> None:
    """Have the new name on the disk too; a folder that may be written to but not read is left to the system."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(OSError):  # file systems that know no fsync of a folder
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def unfinished(name: str) -> str | None:
    """Return the name of the file that a temporary file was to become; None: the name is no temporary file's."""
    found = _TEMPORARY.fullmatch(name)
    return None if found is None else found["name"]


def drop_unfinished(folder: str | os.PathLike[str], names: re.Pattern[str]) -> None:
    """Remove the temporary files that killed processes left of files whose names match.

    Only regular files of this user with no second name: a link, or a file that is known elsewhere too, is none of ours. Call it
    while no other process writes there.
    """
    for entry in os.listdir(folder):
        name = unfinished(entry)
        if name is None or names.fullmatch(name) is None:
            continue
        path = os.path.join(folder, entry)
        with suppress(FileNotFoundError):
            found = os.lstat(path)
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1:
                os.unlink(path)


def unnamed(folder: str) -> IO[bytes]:
    """Return a new file without a name, to be written and read; its space is free again when it is closed.

    Raises:
        OSError: There is no such folder, or it cannot be written to.
    """
    return tempfile.TemporaryFile(prefix="dbgnn-", dir=folder)


def opened(path: str | os.PathLike[str], *, follow: bool = True) -> BinaryIO:
    """Open a regular file to read; never waits, whatever the path names.

    Args:
        path: The file.
        follow: Whether the last part of the path may be a link.

    Raises:
        NotRegularError: It is a folder, a FIFO, a socket or a device; without ``follow`` also a link.
        OSError: It is missing, or cannot be read.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow and os.path.islink(path):
            raise NotRegularError(path, "a symbolic link") from error
        if error.errno == errno.ENXIO:
            raise NotRegularError(path, "a socket") from error
        raise
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    raise NotRegularError(path, _kind(mode))


def _kind(mode: int) -> str:
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "something else")


def read(path: str | os.PathLike[str], limit: int, *, follow: bool = True) -> bytes:
    """Return what a regular file holds.

    Raises:
        OSError: See :func:`opened`; or the file has more than ``limit`` bytes, of which no more are read.
    """
    with opened(path, follow=follow) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes, which is the most that is read", os.fspath(path))
    return data
