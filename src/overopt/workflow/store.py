"""Where results live: one folder a stage, complete or absent, every byte checked.

A result is written under a temporary name, synced to disk, listed with sizes and checksums in ``_artifact.json`` and
renamed. So a folder under its final name is complete unless the disk or somebody changed it, and then ``verify`` says
which file. Deleting results that no study needs any more is left to people.
"""

import hashlib
import itertools
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from overopt.errors import ArtifactError, ConfigError, StorageError
from overopt.workflow.provenance import provenance
from overopt.workflow.stage import Json

MANIFEST = "_artifact.json"
SCHEMA = "overopt.artifact/1"
State = Literal["missing", "ready", "damaged"]

_ABANDONED_AFTER_S = 7 * 86_400
_draft_numbers = itertools.count()


class Identified(Protocol):
    """What the store has to know about a stage; both ``Stage`` and ``Task`` do."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def key(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def parameters(self) -> dict[str, Json]: ...
    @property
    def input_keys(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Damage:
    """One file of a result that is not what was written."""

    file: str
    """Relative to the result's folder."""
    problem: str
    """Continues the sentence that the file's name begins."""

    def __str__(self) -> str:
        return f"{self.file} {self.problem}"


class Store:
    """A folder of results, shared by any number of processes.

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

    def path(self, stage: Identified) -> Path:
        """Where the result of ``stage`` is or will be."""
        return self.root / _folder_name(stage)

    def log_path(self, stage: Identified) -> Path:
        """Where the traceback of ``stage`` is kept if it failed when it ran last."""
        return self.root / f"{_folder_name(stage)}.error.log"

    def state(self, stage: Identified) -> State:
        """Whether the result is missing, or else ready or damaged by the checksums of all its files."""
        if not os.path.lexists(self.path(stage)):
            return "missing"
        return "damaged" if self.verify(stage) else "ready"

    def verify(self, stage: Identified) -> list[Damage]:
        """Every file that is changed, cut short, missing or too many; empty when all is as it was written."""
        folder = self.path(stage)
        if folder.is_symlink() or not folder.is_dir():
            return [Damage(folder.name, "is not a folder")]
        try:
            manifest = _read_manifest(folder)
        except ArtifactError as error:
            return [Damage(MANIFEST, str(error))]
        if manifest["key"] != stage.key:
            return [Damage(MANIFEST, f"belongs to the key {manifest['key']}")]
        damages = []
        present = _entries(folder)
        for file, expected in manifest["files"].items():
            path = present.pop(file, None)
            if path is None:
                damages.append(Damage(file, "is missing"))
            elif path.is_symlink() or not path.is_file():
                damages.append(Damage(file, "is not a plain file"))
            elif (size := path.stat().st_size) != expected["bytes"]:
                damages.append(Damage(file, f"has {size} bytes where {expected['bytes']} were written"))
            elif _checksum(path) != expected["sha256"]:
                damages.append(Damage(file, "has another checksum than when it was written"))
        return damages + [Damage(file, "was not written by the stage") for file in present if file != MANIFEST]

    def open(self, stage: Identified) -> Path:
        """The folder of a result that is there and whole.

        Raises
        ------
        ArtifactError
            If it is missing or damaged; the message names the file.
        """
        if not os.path.lexists(self.path(stage)):
            raise ArtifactError(f"there is no result of {stage.label} in {self.root}; run the study first")
        if damages := self.verify(stage):
            raise ArtifactError(f"the result of {stage.label} is damaged: {damages[0]}; run the study to rebuild it")
        return self.path(stage)

    def manifest(self, stage: Identified) -> dict[str, Any]:  # JSON of our own making, checked by its digest
        """What ``_artifact.json`` says: name, version, key, label, parameters, inputs, files, provenance.

        Raises
        ------
        ArtifactError
            If it is missing or damaged. The other files are not looked at.
        """
        try:
            return _read_manifest(self.path(stage))
        except ArtifactError as error:
            raise ArtifactError(f"{MANIFEST} of {stage.label} {error}") from None

    @contextmanager
    def writing(self, stage: Identified) -> Iterator[Path]:
        """A fresh folder that becomes the result of ``stage`` when the block ends, and vanishes if it raises.

        When another writer was faster its result is kept and ours dropped; a damaged one in the way is set aside.
        """
        draft = self._new_draft(stage)
        started, clock = time.time(), time.perf_counter()
        try:
            yield draft
            wall_s = time.perf_counter() - clock
            _seal(draft, stage, provenance(started=started, wall_s=wall_s))
            self._publish(draft, stage)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def set_aside(self, stage: Identified) -> Path | None:
        """Rename a damaged result to ``.damaged-…`` and return the new path; None if it is no longer damaged."""
        if self.state(stage) != "damaged":  # another process may have rebuilt it meanwhile
            return None
        for number in itertools.count(1):
            aside = self.root / f".damaged-{_folder_name(stage)}-{number}"
            if not os.path.lexists(aside):
                break
        try:
            self.path(stage).rename(aside)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self.path(stage)} is damaged and cannot be renamed: {error.strerror}") from None
        return aside

    def clean_temporary(self) -> list[str]:
        """Remove what writers left that are no longer alive, and return the names.

        Whether a writer on another machine is alive cannot be seen from here; its folder goes after a week of silence.
        """
        removed = []
        for path in list(self.root.glob(".*.tmp")):
            parts = path.name.split(".")
            if len(parts) < 5 or not parts[-3].isdigit():
                continue
            machine, pid = parts[-4], int(parts[-3])
            if machine == _machine_tag():
                is_abandoned = not _is_alive(pid)
            else:
                is_abandoned = time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S
            if is_abandoned:
                shutil.rmtree(path, ignore_errors=True)
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

    def _new_draft(self, stage: Identified) -> Path:
        # Machine and process say who writes; the number keeps threads apart. A folder that has the name already
        # belongs to a dead process with our number.
        tag = f"{_machine_tag()}.{os.getpid()}.{next(_draft_numbers)}"
        draft = self.root / f".{_folder_name(stage)}.{tag}.tmp"
        shutil.rmtree(draft, ignore_errors=True)
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
                _sync(self.root)
                return
        raise StorageError(f"{self.path(stage)} is damaged and comes back each time that it is set aside")


def _folder_name(stage: Identified) -> str:
    return f"{stage.name}-{stage.key[:16]}"


def _seal(draft: Path, stage: Identified, origin: dict[str, Json]) -> None:
    """Write the list of files and bring everything to the disk."""
    files: dict[str, Json] = {}
    for file, path in _entries(draft).items():
        if path.is_symlink() or not path.is_file():
            raise ConfigError(f"stage {stage.name} left {file}, which is not a plain file")
        if file == MANIFEST:
            raise ConfigError(f"stage {stage.name} wrote {MANIFEST}; the name is the store's")
        files[file] = {"sha256": _checksum(path), "bytes": path.stat().st_size}
        _sync(path)
    manifest: dict[str, Json] = {
        "schema": SCHEMA,
        "name": stage.name,
        "version": stage.version,
        "key": stage.key,
        "label": stage.label,
        "parameters": stage.parameters,
        "inputs": list(stage.input_keys),
        "files": files,
        "provenance": origin,
    }
    (draft / MANIFEST).write_text(_manifest_text({**manifest, "sha256": _digest(manifest)}), encoding="ascii")
    _sync(draft / MANIFEST)
    for folder, _, _ in os.walk(draft):
        _sync(Path(folder))


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, or an ``ArtifactError`` that continues a sentence beginning with the file's name."""
    try:
        text = (folder / MANIFEST).read_bytes().decode("ascii")
    except FileNotFoundError:
        raise ArtifactError("is missing") from None
    except (OSError, UnicodeDecodeError):
        raise ArtifactError("cannot be read") from None
    try:
        manifest = json.loads(text)
    except ValueError:
        raise ArtifactError("is not JSON") from None
    if not isinstance(manifest, dict):
        raise ArtifactError("is not a table of names and values")
    if manifest.get("schema") != SCHEMA:
        raise ArtifactError(f"does not follow the schema {SCHEMA}")
    digest = manifest.pop("sha256", None)
    if digest != _digest(manifest) or text != _manifest_text({**manifest, "sha256": digest}):
        raise ArtifactError("has another checksum than when it was written")
    return manifest


def _manifest_text(manifest: dict[str, Json]) -> str:
    return json.dumps(manifest, indent=1) + "\n"


def _digest(manifest: dict[str, Json]) -> str:
    return hashlib.sha256(json.dumps(manifest).encode()).hexdigest()


def _entries(folder: Path) -> dict[str, Path]:
    """Everything below ``folder`` that is not itself a folder, by its relative name, sorted."""
    found = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _machine_tag() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    try:  # in a container nobody may collect the dead: they keep their number and write no more
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}
