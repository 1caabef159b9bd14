"""A store at an address without folders that can be renamed: S3, Google, Azure, memory, any fsspec driver.

Below the address lie, for a result ``NAME-KEY16``::

    NAME-KEY16/MACHINE.PROCESS.RANDOM/…     the files of one attempt, under a name that no other attempt has
    NAME-KEY16.artifact.json                which attempt is the result, its list of files, a digest: written last, once
    NAME-KEY16.error.log                    why it failed last
    .NAME-KEY16.MACHINE.PROCESS.RANDOM.tmp  an attempt is being uploaded (since when); deleted at its end
    .damaged-NAME-KEY16-1.json              the small object of a damaged result that was set aside

A result is there when its small object is, and that is written whole and only if there is none, so the first of several
writers wins and readers see nothing or everything. Stages read local files: ``open`` fetches a result into a cache
folder, which is itself a ``Store``, and checks every byte; a copy that is there and whole is not fetched again.
``verify`` and ``state`` always read the bytes at the address. Folders without files are not kept.
"""

import itertools
import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from overopt.errors import ArtifactError, StorageError
from overopt.workflow.objects import Objects
from overopt.workflow.sealed import (
    MANIFEST,
    SCHEMA,
    Damage,
    Identified,
    Stored,
    checked_manifest,
    damages_of,
    folder_name,
    is_folder_name,
    other_checksum,
    other_size,
    read_manifest,
    sealed_text,
    stored,
    unsealed,
)
from overopt.workflow.store import DAMAGED, Leftover, Store
from overopt.workflow.writers import DraftName, new_draft_name, read_draft_name

POINTER = ".artifact.json"
POINTER_SCHEMA = "overopt.published/1"


class RemoteStore(Store):
    """Results at an address, with the cache folder that they are fetched to.

    Parameters
    ----------
    objects
        What lies at the address.
    cache
        Folder for local copies, of this address only; may be deleted whenever nothing runs.
    address
        What ``open_store`` opens this store by.
    """

    def __init__(self, objects: Objects, cache: Path, address: str) -> None:
        super().__init__(cache)
        self._objects = objects
        self._address = address

    @property
    def address(self) -> str:
        return self._address

    def keep_log(self, stage: Identified, text: str) -> None:
        super().keep_log(stage, text)
        self._objects.write(self.log_path(stage).name, text.encode("utf-8", "backslashreplace"))

    def drop_log(self, stage: Identified) -> None:
        super().drop_log(stage)
        self._objects.delete(self.log_path(stage).name)

    def open(self, stage: Identified) -> Path:
        pointer = _pointer(folder_name(stage))
        while True:
            content = self._objects.read(pointer)
            if content is None:
                raise self._missing(stage)
            try:
                self._bring(stage, content)
            except ArtifactError:
                if self._objects.read(pointer) == content:  # else it was removed or replaced meanwhile
                    raise
            else:
                return self.path(stage)

    def fetch(self, stage: Identified) -> Path:
        return self.open(stage)

    def manifest(self, stage: Identified) -> dict[str, Any]:
        content = self._objects.read(_pointer(folder_name(stage)))
        try:
            if content is None:
                raise ArtifactError("is missing")
            return _read_pointer(content)[1]
        except ArtifactError as error:
            raise ArtifactError(f"{MANIFEST} of {stage.label} {error}") from None

    def set_aside(self, stage: Identified) -> Path | None:
        """Take a damaged result out of the way; returns the name of its small object in the store, as a path."""
        pointer = _pointer(folder_name(stage))
        content = self._objects.read(pointer)
        if content is None or not self._damages(stage, content):
            return None
        for number in itertools.count(1):
            aside = f"{DAMAGED}{folder_name(stage)}-{number}.json"
            if self._objects.create(aside, content):
                break
        if self._objects.read(pointer) != content:  # another process was faster
            self._objects.delete(aside)
            return None
        self._objects.delete(pointer)
        return Path(aside)

    def results(self) -> list[Stored]:
        names = self._objects.names()
        pointers = [name for name in names if name.endswith(POINTER) and is_folder_name(name.removesuffix(POINTER))]
        found = []
        for name, content in self._objects.read_all(pointers).items():
            folder = name.removesuffix(POINTER)
            try:
                found.append(stored(folder, _read_pointer(content)[1]))
            except ArtifactError as error:
                found.append(Stored(folder=folder, manifest=None, problem=str(error), n_bytes=len(content)))
        return found

    def leftovers(self) -> list[Leftover]:
        sizes = self._objects.sizes()
        attempts: dict[str, int] = {}
        for name, size in sizes.items():
            folder, _, rest = name.partition("/")
            if rest and is_folder_name(folder) and _draft(folder, rest.partition("/")[0]) is not None:
                attempt = f"{folder}/{rest.partition('/')[0]}"
                attempts[attempt] = attempts.get(attempt, 0) + size
        # Read after the list was made: an attempt that is in it and was published since is then known as such.
        pointers = self._objects.read_all({_pointer(name.partition("/")[0]) for name in attempts})
        used = {f"{name.removesuffix(POINTER)}/{_attempt_of(content)}" for name, content in pointers.items()}
        found = []
        for name in sizes:
            draft = read_draft_name(name)
            if draft is not None:
                attempt = f"{draft.folder}/{draft.tag}"
                used.add(attempt)
                if self._is_abandoned(draft):
                    found.append(Leftover("draft", name, attempts.get(attempt, 0)))
            elif name.startswith(DAMAGED) and "/" not in name:
                attempt = self._set_aside_attempt(name)
                used.add(attempt)
                found.append(Leftover("damaged", name, sizes[name] + attempts.get(attempt, 0)))
        orphans = {name: size for name, size in attempts.items() if name not in used}
        return found + [Leftover("draft", name, size) for name, size in orphans.items()]

    def in_progress(self) -> set[str]:
        drafts = [draft for name in self._objects.names() if (draft := read_draft_name(name)) is not None]
        return {draft.folder for draft in drafts if not self._is_abandoned(draft)} | super().in_progress()

    def remove(self, name: str) -> None:
        draft = read_draft_name(name)
        if draft is not None:
            self._end_attempt(draft)
        elif name.startswith(DAMAGED):
            attempt = self._set_aside_attempt(name)
            if attempt:
                self._objects.delete_all(attempt)
            self._objects.delete(name)
        elif "/" in name:
            self._remove_orphan(*name.split("/"))
        else:
            published = self._published(name)
            self._objects.delete(_pointer(name))
            if published is not None:
                self._objects.delete_all(f"{name}/{published}")
            super().remove(name)

    def clean_temporary(self) -> list[str]:
        removed = super().clean_temporary()
        for name in self._objects.names():
            draft = read_draft_name(name)
            if draft is not None and self._is_abandoned(draft):
                self._end_attempt(draft)
                removed.append(name)
        return removed

    def check_writable(self) -> None:
        super().check_writable()
        probe = str(new_draft_name("probe"))
        self._objects.write(probe, _now())
        self._objects.delete(probe)

    def _publish(self, draft: Path, stage: Identified) -> None:
        name = new_draft_name(folder_name(stage))
        manifest = read_manifest(draft)
        self._objects.write(str(name), _now())
        try:
            self._objects.upload(draft, manifest["files"], f"{name.folder}/{name.tag}")
            if damages := self._size_damages(f"{name.folder}/{name.tag}", manifest):
                raise StorageError(f"{name.folder} did not arrive at {self.address} as it was sent: {damages[0]}")
            is_ours = self._point_to(name, stage, manifest)
        except BaseException:
            with suppress(StorageError):  # what remains has its mark and goes later
                self._end_attempt(name)
            raise
        if is_ours:
            self._objects.delete(str(name))
            self._place(draft, stage, manifest)
        else:
            self._end_attempt(name)
            self.open(stage)

    def _point_to(self, name: DraftName, stage: Identified, manifest: dict[str, Any]) -> bool:
        """Make an uploaded attempt the result; False if another result is there and whole."""
        content = sealed_text({"schema": POINTER_SCHEMA, "attempt": name.tag, "manifest": manifest})
        for _ in range(3):
            if self._objects.create(_pointer(name.folder), content):
                return True
            if self.state(stage) == "ready":
                return False
            self.set_aside(stage)
        raise StorageError(f"{name.folder} in {self.address} is damaged and comes back each time that it is set aside")

    def _end_attempt(self, name: DraftName) -> None:
        """Remove the files of an attempt unless they became the result, and its mark."""
        if self._published(name.folder) != name.tag:
            self._objects.delete_all(f"{name.folder}/{name.tag}")
        self._objects.delete(str(name))

    def _remove_orphan(self, folder: str, tag: str) -> None:
        draft = _draft(folder, tag)
        # The mark is written before the first file and deleted after the pointer: in this order nothing is overlooked.
        if draft is None or self._objects.read(str(draft)) is not None or self._published(folder) == tag:
            return
        self._objects.delete_all(f"{folder}/{tag}")

    def _published(self, folder: str) -> str | None:
        """The attempt that is the result called ``folder``."""
        return _attempt_of(self._objects.read(_pointer(folder)))

    def _set_aside_attempt(self, aside: str) -> str:
        """The files of a damaged result; empty if its small object is itself the damage."""
        attempt = _attempt_of(self._objects.read(aside))
        folder = aside.removeprefix(DAMAGED).rpartition("-")[0]
        return "" if attempt is None else f"{folder}/{attempt}"

    def _is_abandoned(self, draft: DraftName) -> bool:
        if draft.is_abandoned(0.0):
            return True
        content = self._objects.read(str(draft))
        if content is None:  # finished a moment ago
            return False
        try:
            since = datetime.fromisoformat(content.decode("ascii"))
        except ValueError:
            return False
        return draft.is_abandoned(time.time() - since.timestamp())

    def _inspect(self, stage: Identified) -> list[Damage] | None:
        pointer = _pointer(folder_name(stage))
        while True:
            content = self._objects.read(pointer)
            if content is None:
                return None
            damages = self._damages(stage, content)
            if not damages or self._objects.read(pointer) == content:
                return damages  # else it was removed or replaced while it was read

    def _damages(self, stage: Identified, content: bytes) -> list[Damage]:
        """What is wrong at the address with the result that the small object ``content`` describes."""
        try:
            attempt, manifest = _read_pointer(content)
        except ArtifactError as error:
            return [Damage(MANIFEST, str(error))]
        if manifest["key"] != stage.key:
            return [Damage(MANIFEST, f"belongs to the key {manifest['key']}")]
        prefix = f"{folder_name(stage)}/{attempt}"
        damages = self._size_damages(prefix, manifest)
        suspected = {damage.file for damage in damages}
        for file, expected in manifest["files"].items():
            if file in suspected:
                continue
            if self._objects.checksum(f"{prefix}/{file}", expected["bytes"]) != expected["sha256"]:
                damages.append(other_checksum(file))
        return damages

    def _size_damages(self, prefix: str, manifest: dict[str, Any]) -> list[Damage]:
        """What a list of names and sizes shows."""
        present = self._objects.sizes(prefix)
        damages = []
        for file, expected in manifest["files"].items():
            size = present.pop(file, None)
            if size is None:
                damages.append(Damage(file, "is missing"))
            elif size != expected["bytes"]:
                damages.append(other_size(file, size, expected["bytes"]))
        return damages + [Damage(file, "was not written by the stage") for file in present]

    def _bring(self, stage: Identified, content: bytes) -> None:
        """Make the local copy the result that the small object ``content`` describes."""
        try:
            attempt, manifest = _read_pointer(content)
        except ArtifactError as error:
            raise self._damaged(stage, Damage(MANIFEST, str(error))) from None
        if not self._is_cached(stage, manifest):
            self._fetch(stage, attempt, manifest)

    def _is_cached(self, stage: Identified, manifest: dict[str, Any]) -> bool:
        """Whether the local copy is there, whole, and of the published attempt."""
        if damages_of(self.path(stage), stage.key):
            return False
        return read_manifest(self.path(stage)) == manifest

    def _fetch(self, stage: Identified, attempt: str, manifest: dict[str, Any]) -> None:
        draft = self._new_draft(stage)
        try:
            prefix = f"{folder_name(stage)}/{attempt}"
            damages = self._size_damages(prefix, manifest)
            if not damages:
                for file, expected in manifest["files"].items():
                    self._objects.download(f"{prefix}/{file}", expected["bytes"], draft / file)
                (draft / MANIFEST).write_bytes(sealed_text(manifest))
                damages = damages_of(draft, stage.key)
            if damages:
                raise self._damaged(stage, damages[0])
            self._place(draft, stage, manifest)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"results cannot be fetched to {self.root}: {error.strerror or error}") from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _place(self, draft: Path, stage: Identified, manifest: dict[str, Any]) -> None:
        """Make ``draft`` the local copy, unless another process has put the same one there."""
        for _ in range(3):
            with suppress(OSError):
                draft.replace(self.path(stage))
                return
            if self._is_cached(stage, manifest):
                return
            super().remove(folder_name(stage))
        raise StorageError(f"{self.path(stage)} cannot be replaced by the result from {self.address}")


def _pointer(folder: str) -> str:
    return f"{folder}{POINTER}"


def _read_pointer(content: bytes) -> tuple[str, dict[str, Any]]:
    """The attempt and its manifest."""
    table = unsealed(content, POINTER_SCHEMA)
    if table["manifest"].get("schema") != SCHEMA:
        raise ArtifactError(f"does not follow the schema {SCHEMA}")
    return table["attempt"], checked_manifest(table["manifest"])


def _attempt_of(content: bytes | None) -> str | None:
    if content is None:
        return None
    try:
        return _read_pointer(content)[0]
    except ArtifactError:
        return None


def _draft(folder: str, tag: str) -> DraftName | None:
    return read_draft_name(f".{folder}.{tag}.tmp")


def _now() -> bytes:
    return datetime.now(UTC).isoformat(timespec="seconds").encode("ascii")
