"""Where results live: one folder a stage, complete or absent, every byte checked.

A result is written under a temporary name, listed with sizes and checksums in ``_artifact.json``, synced to disk and
renamed. So a folder under its final name is complete unless the disk or somebody changed it, and then ``verify`` says
which file. Results that are made in no time are not synced: a power cut may damage those of the last seconds, which is
found like any damage. What no study needs any more goes when ``overopt store gc`` is told so, never by itself.
"""

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from overopt.errors import ArtifactError, StorageError
from overopt.workflow.provenance import provenance
from overopt.workflow.sealed import (
    MANIFEST,
    Damage,
    Identified,
    Stored,
    damages_of,
    entries,
    folder_name,
    is_folder_name,
    read_manifest,
    seal,
    stored,
    sync,
)
from overopt.workflow.writers import new_draft_name, read_draft_name

State = Literal["missing", "ready", "damaged"]
DAMAGED = ".damaged-"
_WORTH_SYNCING_S = 0.2
"""Results that took less are sooner made again than synced: four waits for the disk, 3 ms each, more on a busy one."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something in a store that is no result and that nobody is making into one."""

    kind: Literal["draft", "damaged"]
    """A draft whose writer is gone, or a damaged result that was set aside."""
    name: str
    """In the store."""
    n_bytes: int


class Store:
    """A folder of results, shared by any number of processes.

    ``overopt.workflow.open_store`` also opens addresses that are no folders; what it returns works as this does, with
    ``root`` the local folder to which results are fetched.

    Raises
    ------
    StorageError
        If ``root`` is not a folder and cannot become one.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{root} cannot be used as a folder for results: {error.strerror or error}") from None

    @property
    def address(self) -> str:
        """What ``open_store`` opens this store by, in another process too."""
        return str(self.root)

    def path(self, stage: Identified) -> Path:
        """Where the result of ``stage`` is or will be."""
        return self.root / folder_name(stage)

    def log_path(self, stage: Identified) -> Path:
        """Where the traceback of ``stage`` is kept if it failed when it ran last."""
        return self.root / f"{folder_name(stage)}.error.log"

    def keep_log(self, stage: Identified, text: str) -> None:
        """Keep ``text``, why ``stage`` failed, where ``log_path`` says."""
        self.log_path(stage).write_text(text, encoding="utf-8", errors="backslashreplace")

    def drop_log(self, stage: Identified) -> None:
        """Forget that ``stage`` failed before."""
        self.log_path(stage).unlink(missing_ok=True)

    def state(self, stage: Identified) -> State:
        """Whether the result is missing, or else ready or damaged by the checksums of all its files."""
        damages = self._inspect(stage)
        return "missing" if damages is None else "damaged" if damages else "ready"

    def verify(self, stage: Identified) -> list[Damage]:
        """Every file that is changed, cut short, missing or too many; empty when all is as it was written."""
        damages = self._inspect(stage)
        return [Damage(folder_name(stage), "is missing")] if damages is None else damages

    def open(self, stage: Identified) -> Path:
        """The folder of a result that is there and whole.

        Raises
        ------
        ArtifactError
            If it is missing or damaged; the message names the file.
        """
        damages = self._inspect(stage)
        if damages is None:
            raise self._missing(stage)
        if damages:
            raise self._damaged(stage, damages[0])
        return self.path(stage)

    def fetch(self, stage: Identified) -> Path:
        """The folder of a result that was found whole before: here it is not read again, only seen to be there.

        Raises
        ------
        ArtifactError
            If it is missing.
        """
        if not self.path(stage).is_dir():
            raise self._missing(stage)
        return self.path(stage)

    def manifest(self, stage: Identified) -> dict[str, Any]:  # JSON of our own making, checked by its digest
        """What ``_artifact.json`` says: name, version, key, label, parameters, inputs, files, provenance.

        Raises
        ------
        ArtifactError
            If it is missing or damaged. The other files are not looked at.
        """
        try:
            return read_manifest(self.path(stage))
        except ArtifactError as error:
            raise ArtifactError(f"{MANIFEST} of {stage.label} {error}") from None

    @contextmanager
    def writing(self, stage: Identified, *, attempt: int | None = None) -> Iterator[Path]:
        """A fresh folder that becomes the result of ``stage`` when the block ends, and vanishes if it raises.

        When another writer was faster its result is kept and ours dropped; a damaged one in the way is set aside.

        Parameters
        ----------
        attempt : int, optional
            How many times the stage was started for this result, from 1; noted with it.
        """
        draft = self._new_draft(stage)
        started, clock = time.time(), time.perf_counter()
        try:
            yield draft
            wall_s = time.perf_counter() - clock
            origin = provenance(started=started, wall_s=wall_s, parameters=stage.parameters, attempt=attempt)
            is_synced = wall_s >= _WORTH_SYNCING_S
            seal(draft, stage, origin, is_synced=is_synced)
            self._publish(draft, stage)
            if is_synced:
                sync(self.root)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def set_aside(self, stage: Identified) -> Path | None:
        """Rename a damaged result to ``.damaged-…`` and return the new path; None if it is no longer damaged."""
        if self.state(stage) != "damaged":  # another process may have rebuilt it meanwhile
            return None
        aside = next(
            aside
            for number in itertools.count(1)
            if not os.path.lexists(aside := self.root / f"{DAMAGED}{folder_name(stage)}-{number}")
        )
        try:
            self.path(stage).rename(aside)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self.path(stage)} is damaged and cannot be renamed: {error.strerror}") from None
        return aside

    def results(self) -> list[Stored]:
        """All results, sorted by name; only their manifests are read."""
        found = []
        for path in sorted(self.root.iterdir()):
            if not is_folder_name(path.name):
                continue
            try:
                found.append(stored(path.name, read_manifest(path)))
            except ArtifactError as error:
                found.append(Stored(folder=path.name, manifest=None, problem=str(error), n_bytes=_size(path)))
        return found

    def damages(self, result: Stored) -> list[Damage]:
        """``verify`` for one of ``results``."""
        return [Damage(MANIFEST, result.problem)] if result.problem else self.verify(result)

    def leftovers(self) -> list[Leftover]:
        """Drafts that nobody goes on with and damaged results that were set aside."""
        drafts = [Leftover("draft", path.name, _size(path)) for path, is_abandoned in self._drafts() if is_abandoned]
        damaged = sorted(self.root.glob(f"{DAMAGED}*"))
        return drafts + [Leftover("damaged", path.name, _size(path)) for path in damaged]

    def in_progress(self) -> set[str]:
        """The names of results that somebody may be writing now."""
        names = (read_draft_name(path.name) for path, is_abandoned in self._drafts() if not is_abandoned)
        return {name.folder for name in names if name is not None}

    def remove(self, name: str) -> None:
        """Remove one of ``results`` or ``leftovers`` by its name: at once for whoever reads, then from the disk.

        Raises
        ------
        StorageError
            If it cannot be removed.
        """
        path = self.root / name
        try:
            if read_draft_name(name) is None:
                path = path.rename(self.root / str(new_draft_name(name.lstrip("."))))
            _erase(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"{name} cannot be removed from {self.root}: {error.strerror or error}") from None

    def clean_temporary(self) -> list[str]:
        """Remove what writers left that are no longer alive, and return the names.

        Whether a writer on another machine is alive cannot be seen from here; its folder goes after a week of silence.
        """
        removed = []
        for path, is_abandoned in self._drafts():
            if is_abandoned:
                with suppress(OSError):
                    _erase(path)
                removed.append(path.name)
        return removed

    def check_writable(self) -> None:
        """Find out now, not after the first hour.

        Raises
        ------
        StorageError
            If no file can be written below ``root``.
        """
        try:
            with tempfile.TemporaryFile(dir=self.root) as probe:
                probe.write(b"x")
        except OSError as error:
            raise StorageError(f"results cannot be written to {self.root}: {error.strerror or error}") from None

    def _inspect(self, stage: Identified) -> list[Damage] | None:
        """What is wrong with the result; None if there is none."""
        path = self.path(stage)
        while True:
            try:
                # Held open, its number is not given to another folder.
                held = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            except FileNotFoundError:
                return None
            except OSError:  # a link, or not ours to read
                return damages_of(path, stage.key)
            try:
                damages = damages_of(path, stage.key)
                if not damages or _is_at(path, held):
                    return damages  # else it was removed or replaced while it was read
            finally:
                os.close(held)

    def _missing(self, stage: Identified) -> ArtifactError:
        return ArtifactError(f"there is no result of {stage.label} in {self.address}; run the study first")

    def _damaged(self, stage: Identified, damage: Damage) -> ArtifactError:
        return ArtifactError(f"the result of {stage.label} is damaged: {damage}; run the study to rebuild it")

    def _drafts(self) -> Iterator[tuple[Path, bool]]:
        """Each draft and whether it is abandoned."""
        for path in sorted(self.root.glob(".*.tmp")):
            name = read_draft_name(path.name)
            with suppress(FileNotFoundError):  # finished a moment ago
                if name is not None:
                    yield path, name.is_abandoned(time.time() - path.stat().st_mtime)

    def _new_draft(self, stage: Identified) -> Path:
        draft = self.root / str(new_draft_name(folder_name(stage)))
        try:
            draft.mkdir()
        except OSError as error:
            raise StorageError(f"results cannot be written to {self.root}: {error.strerror or error}") from None
        return draft

    def _publish(self, draft: Path, stage: Identified) -> None:
        for _ in range(3):
            try:
                draft.replace(self.path(stage))
            except OSError as error:  # a folder that is not empty, or something else, has the name
                if not os.path.lexists(self.path(stage)):
                    raise StorageError(f"{self.path(stage)} cannot be written: {error.strerror or error}") from None
                if self.state(stage) == "ready":
                    return
                self.set_aside(stage)
            else:
                return
        raise StorageError(f"{self.path(stage)} is damaged and comes back each time that it is set aside")


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether what ``descriptor`` holds open is still called ``path``."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


def _erase(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _size(path: Path) -> int:
    """Bytes of a file or of all files in a folder."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in entries(path).values())
