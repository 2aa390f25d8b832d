"""The files of a pack: `pack.json`, its manifest, and size and checksum of every other file.

A pack is a folder. ``pack.json`` says what decides its batches, how many there are, and size and checksum (xxh3_64) of every
file. The checksums find damage, not malice: whoever changes a file can change them as well, so what the files say is checked
all the same. No file is named in a manifest; links are not followed.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from dbgnn import documents, files
from dbgnn.documents import MalformedError, shortened
from dbgnn.errors import DataError, DbgnnError, ResourceError
from dbgnn.packs.pack_check import Claims

MANIFEST = "pack.json"

#: The seeds of every mini-batch, in the order in which they are packed; deleted when the last one is.
ORDER = "order.arrow"

_FORMAT, _VERSION = "dbgnn pack", 1

#: The names of all files of a pack.
NAMES = re.compile(r"pack\.json|order\.arrow|part-\d{5,}\.arrow")

#: A part takes about 90 bytes and 7 values, an epoch 6 and 1, a column 50 and 5: enough for a pack of some TB.
_BOUNDS = documents.Bounds(size=8 << 20, depth=16, values=1 << 18)

#: What no count of mini-batches or bytes reaches.
_LARGEST = 1 << 62

_CHECKSUM = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Size and checksum (xxh3_64) of a file, and the number of mini-batches in it."""

    batches: int
    bytes: int
    xxh3_64: str

    @classmethod
    def of(cls, file: BinaryIO, batches: int) -> StoredFile:
        """Read a file through."""
        file.seek(0)
        return cls(batches, os.fstat(file.fileno()).st_size, _checksum(file))

    @classmethod
    def read(cls, entry: Any, *, least: int) -> StoredFile:
        """Return what a manifest says of a file; ``least``: how many mini-batches it holds at least.

        Raises:
            MalformedError: It is not said as packs say it; the message says what is.
        """
        if not isinstance(entry, dict) or entry.keys() != {"batches", "bytes", "xxh3_64"}:
            raise MalformedError(f"describes a file by {shortened(entry)}")
        for name, at_least in (("batches", least), ("bytes", 1)):
            if type(entry[name]) is not int or not at_least <= entry[name] < _LARGEST:
                raise MalformedError(f"says that a file has {shortened(entry[name])} {name}")
        if not isinstance(entry["xxh3_64"], str) or _CHECKSUM.fullmatch(entry["xxh3_64"]) is None:
            raise MalformedError(f"says that a file has the checksum {shortened(entry['xxh3_64'])}")
        return cls(**entry)

    @contextmanager
    def open(self, path: Path, *, verify: bool) -> Iterator[BinaryIO]:
        """Open the file and check its length; with ``verify`` read it through and compare its checksum too.

        Raises:
            DataError: It is missing, no regular file, shorter, longer, or holds other bytes.
        """
        try:
            file = files.opened(path, follow=False)
        except OSError as error:
            raise no_file(path, error) from error
        with file:
            if (found := os.fstat(file.fileno()).st_size) != self.bytes:
                raise damaged_pack(path, f"has {found:,} bytes where {self.bytes:,} were written")
            if verify:
                self.verify(file, path)
            yield file

    def verify(self, file: BinaryIO, path: Path) -> None:
        """Read the open file through and compare its checksum.

        Raises:
            DataError: It holds other bytes.
        """
        if _checksum(file) != self.xxh3_64:
            raise damaged_pack(path, "does not hold what was written to it: its checksum is wrong")


def state_of(file: BinaryIO) -> tuple[int, ...]:
    """Return what changes when a file is written to, or replaced by another."""
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _checksum(file: BinaryIO) -> str:
    digest, block = xxhash.xxh3_64(), memoryview(bytearray(1 << 20))
    while count := file.readinto(block):  # type: ignore[attr-defined] # of files on the disk, which all of these are
        digest.update(block[:count])
    return digest.hexdigest()


def no_file(path: Path, error: OSError) -> DataError:
    """Return the error for a file of a pack that cannot be opened."""
    if path.is_symlink():
        return DataError(
            f"{str(path)!r} is a symbolic link, and in the folder of a pack none is followed: it may come from anybody. Copy "
            "the folder with the files themselves, as cp -RL does, and give the copy."
        )
    if path.name == MANIFEST:
        return DataError(
            f"There is no pack in {str(path.parent)!r}: {MANIFEST} cannot be read ({error.strerror}). Make one with "
            "loader.pack(path)."
        )
    return damaged_pack(path, f"cannot be read ({error.strerror})")


def damaged_pack(path: Path, what: str) -> DataError:
    """Return the error for a file of a pack."""
    return DataError(f"The pack {str(path.parent)!r} is damaged: {path.name} {what}. Delete the folder and pack again.")


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Lend a file that gets its name once it is on the disk: it is there whole or not at all.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written to.
        DbgnnError: What has the name is a link, a folder, or anything else but a regular file.
    """
    try:
        with files.replaced(path) as file:
            yield file
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise ResourceError(
                f"The disk is full while packing into {str(path.parent)!r}: {error}. Free space, and pack again with the same "
                "loader: it continues after the last complete part."
            ) from error
        if isinstance(error, files.NotRegularError):
            raise DbgnnError(
                f"Cannot write {path.name} of the pack {str(path.parent)!r}: {error.strerror}. Pack into a folder "
                "that is new or empty."
            ) from error
        raise ResourceError(f"The pack {str(path.parent)!r} cannot be written: {error}.") from error


# -- manifest ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``pack.json`` says.

    Attributes:
        loader: What decides the batches, by name.
        epochs: Number of mini-batches of every epoch.
        order: The file with the seeds of every mini-batch, there until the pack is complete.
        parts: The complete parts, in the order of their mini-batches.
        claims: What ``loader`` says of nodes and edges.
    """

    loader: dict[str, Any]
    epochs: tuple[int, ...]
    order: StoredFile
    parts: tuple[StoredFile, ...] = ()
    claims: Claims = field(default_factory=Claims, compare=False)

    @property
    def packed(self) -> int:
        """Number of mini-batches that are packed."""
        return sum(part.batches for part in self.parts)

    @property
    def complete(self) -> bool:
        """Whether every mini-batch is packed."""
        return self.packed == sum(self.epochs)

    def with_part(self, part: StoredFile) -> Manifest:
        """Return the manifest with one more part."""
        return replace(self, parts=(*self.parts, part))

    def write(self, folder: Path) -> None:
        """Write it to its folder."""
        content = asdict(self)
        del content["claims"]
        with whole(folder / MANIFEST) as file:
            file.write(_render({"format": _FORMAT, "version": _VERSION, **content}))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a pack, complete or not, and check that its parts are there.

        Raises:
            DataError: There is no pack, it was made by a newer version, a byte is not as it was written, or it does not say
                what the manifest of a pack says.
        """
        path = folder / MANIFEST
        try:
            text = files.read(path, _BOUNDS.size, follow=False)
        except OSError as error:
            raise no_file(path, error) from error
        try:
            content = documents.parse(text, _BOUNDS)
        except ValueError as error:
            raise damaged_pack(path, f"is no JSON ({error})") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise DataError(f"{str(path)!r} is not the manifest of a dbgnn pack. Make a pack with loader.pack(path).")
        content.pop("xxh3_64", None)
        if _render(content) != text:  # holds for manifests of every version, so it comes first
            raise damaged_pack(path, "does not hold what was written to it: its checksum is wrong")
        if type(version := content.get("version")) is not int or version != _VERSION:
            raise DataError(
                f"The pack {str(folder)!r} was made by a newer dbgnn: {MANIFEST} says version {shortened(version)}, this dbgnn "
                f"reads version {_VERSION}. Upgrade dbgnn, or pack again with this one."
            )
        try:
            manifest = cls._read(content)
        except ValueError as error:
            raise damaged_pack(path, str(error)) from error
        for number, part in enumerate(manifest.parts):
            with part.open(part_path(folder, number), verify=False):
                pass
        return manifest

    @classmethod
    def _read(cls, content: dict[str, Any]) -> Manifest:
        if names := content.keys() ^ {"format", "version", "loader", "epochs", "order", "parts"}:
            raise MalformedError(f"lacks, or should not have, {shortened(min(names))}")
        loader, epochs, parts = content["loader"], content["epochs"], content["parts"]
        if not isinstance(loader, dict):
            raise MalformedError(f"says {shortened(loader)} of the loader")
        if not isinstance(epochs, list) or not epochs or not all(type(n) is int and 0 <= n < _LARGEST for n in epochs):
            raise MalformedError(f"has {shortened(epochs)} for the numbers of mini-batches of its epochs")
        if not isinstance(parts, list):
            raise MalformedError(f"has {shortened(parts)} for its parts")
        made = cls(
            loader,
            tuple(epochs),
            StoredFile.read(content["order"], least=0),
            tuple(StoredFile.read(part, least=1) for part in parts),
            Claims.of(loader),
        )
        if made.order.batches != sum(epochs) or made.packed > sum(epochs):
            raise MalformedError(f"counts {sum(epochs):,} mini-batches in all epochs and {made.packed:,} in its parts")
        return made


def part_path(folder: Path, number: int) -> Path:
    """Return the path of a part."""
    return folder / f"part-{number:05}.arrow"


def _render(content: Mapping[str, Any]) -> bytes:
    """Return the manifest's text; the checksum it ends with is that of the text without it."""
    checksum = xxhash.xxh3_64_hexdigest(json.dumps(content, indent=1).encode())
    return json.dumps({**content, "xxh3_64": checksum}, indent=1).encode() + b"\n"
