"""Files under one address of an object store or file system: the seam to fsspec and to its drivers.

Names are relative to the address. What drivers raise, each after its own fashion, becomes ``StorageError`` with one
sentence; what is missing is None, False or absent. ``create`` is atomic on object stores that know conditional writes
(S3, Google, Azure), in memory and on local disks; on others it is as good as the driver makes it.
"""

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from overopt.errors import OveroptError, StorageError
from overopt.workflow.writers import new_draft_name

_PIECE = 2**25
_AT_ONCE = 16
# A driver in this process may look first and write then.
_creating = threading.Lock()


class Objects:
    """Everything below ``root`` of ``filesystem``, which ``address`` names for people."""

    def __init__(self, filesystem: Any, root: str, address: str) -> None:  # Any: drivers are not typed
        self.address = address
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._is_local = "file" in _protocols(filesystem)

    def probe(self) -> None:
        """Ask the other side for anything at all, so that a wrong name or a missing credential is known now."""
        with self._reaching("be reached"), suppress(FileNotFoundError):
            self._filesystem.info(self._root or "/")

    def names(self) -> list[str]:
        """The objects directly below the address, sorted."""
        with self._reaching("be listed"):
            self._filesystem.invalidate_cache()
            found = self._listed()
        return sorted(self._relative(entry["name"]) for entry in found if entry["type"] != "directory")

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Every object below ``folder``, at any depth, with its bytes; names are relative to ``folder``."""
        top = f"{self._root}/{folder}" if folder else self._root
        with self._reaching("be listed"):
            self._filesystem.invalidate_cache()
            found = self._filesystem.find(top, detail=True)
        strip = len(folder) + 1 if folder else 0
        return {
            self._relative(name)[strip:]: int(entry["size"])
            for name, entry in sorted(found.items())
            if entry.get("type") == "file" and self._relative(name) != folder
        }

    def read(self, name: str) -> bytes | None:
        """The content of a small object; None if there is none."""
        with self._reaching("be read"):
            try:
                return bytes(self._filesystem.cat_file(self._at(name)))
            except FileNotFoundError:
                return None

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """The content of those small objects that there are, several at a time."""
        wanted = list(names)
        with ThreadPoolExecutor(_AT_ONCE) as pool:  # one by one, a thousand answers take a minute
            contents = list(pool.map(self.read, wanted))
        return {name: content for name, content in zip(wanted, contents, strict=True) if content is not None}

    def checksum(self, name: str, n_bytes: int) -> str | None:
        """sha256 of the first ``n_bytes`` of an object, read piece by piece; None if there is none."""
        digest = hashlib.sha256()
        with self._reaching("be read"):
            try:
                for piece in self._pieces(name, n_bytes):
                    digest.update(piece)
            except FileNotFoundError:
                return None
        return digest.hexdigest()

    def write(self, name: str, content: bytes) -> None:
        """Write a small object, over what has the name."""
        with self._reaching("be written to"):
            self._make_parent(name)
            self._filesystem.pipe_file(self._at(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small object whole, unless there is one of the name already; says whether it was written."""
        with self._reaching("be written to"), _creating:
            self._make_parent(name)
            if self._is_local:
                return self._link(name, content)
            if self.read(name) is not None:  # some drivers do not know the mode and write over it
                return False
            try:
                self._filesystem.pipe_file(self._at(name), content, mode="create")
            except FileExistsError:
                # A driver that did not hear the answer tries again and meets its own object.
                return self.read(name) == content
            return self.read(name) == content

    def upload(self, folder: Path, files: Iterable[str], to: str) -> None:
        """Copy ``files`` of a local folder below ``to``."""
        wanted = list(files)
        if not wanted:
            return
        with self._reaching("be written to"):
            for file in wanted:
                self._make_parent(f"{to}/{file}")
            self._filesystem.put([str(folder / file) for file in wanted], [self._at(f"{to}/{file}") for file in wanted])

    def download(self, name: str, n_bytes: int, target: Path) -> None:
        """Copy the first ``n_bytes`` of an object to a local file, which stays short if there is no such object."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file, self._reaching("be read"), suppress(FileNotFoundError):
            for piece in self._pieces(name, n_bytes):
                file.write(piece)

    def delete(self, name: str) -> None:
        """Delete an object if there is one."""
        with self._reaching("be written to"), suppress(FileNotFoundError):
            self._filesystem.rm_file(self._at(name))

    def delete_all(self, folder: str) -> None:
        """Delete every object below ``folder``, and folders that this leaves empty where there are folders."""
        for file in self.sizes(folder):
            self.delete(f"{folder}/{file}")
        if self._is_local:
            for parent, _, _ in sorted(os.walk(self._at(folder)), reverse=True):
                with suppress(OSError):
                    Path(parent).rmdir()
            with suppress(OSError):
                Path(self._at(folder)).parent.rmdir()

    def _listed(self) -> list[dict[str, Any]]:
        while True:
            try:
                return list(self._filesystem.ls(self._root, detail=True))
            except FileNotFoundError:
                return []
            except KeyError:  # in memory, when another thread deletes an object meanwhile
                continue

    def _pieces(self, name: str, n_bytes: int) -> Iterator[bytes]:
        # Not ``open``: two readers in one process share a cursor where the driver keeps files in memory.
        for start in range(0, n_bytes, _PIECE):
            yield self._filesystem.cat_file(self._at(name), start=start, end=min(start + _PIECE, n_bytes))

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _relative(self, name: str) -> str:
        path: str = self._filesystem._strip_protocol(name)
        return path[len(self._root) :].lstrip("/")

    def _make_parent(self, name: str) -> None:
        # Object stores know no folders: asking for one there may make a bucket.
        if self._filesystem.async_impl:
            return
        for is_last in (False, False, False, True):
            try:
                self._filesystem.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)
            except FileNotFoundError:  # ``delete_all`` of another writer took the folder that was to hold this one
                if is_last:
                    raise
            else:
                return

    def _link(self, name: str, content: bytes) -> bool:
        target = Path(self._at(name))
        draft = target.with_name(str(new_draft_name("object")))
        try:
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, target)  # unlike a rename, it does not take a name that is in use
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        return True

    @contextmanager
    def _reaching(self, what: str) -> Iterator[None]:
        try:
            yield
        except OveroptError:
            raise
        except Exception as error:  # each driver raises exceptions of its own
            raise StorageError(f"{self.address} cannot {what}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
