"""A result as a folder of files that is listed, checksummed and never changed again.

``_artifact.json`` in the folder holds what was made, from what, every file with its size and sha256, where it comes
from, and a digest of itself. So each changed byte is found and named, one in the list included.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from overopt.errors import ArtifactError, ConfigError
from overopt.workflow.stage import Json

MANIFEST = "_artifact.json"
SCHEMA = "overopt.artifact/1"
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}-[0-9a-f]{16}")


class Identified(Protocol):
    """What the store has to know about a stage; ``Stage``, ``Task`` and ``Stored`` do."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A result found in a store, as its manifest describes it; its other files were not looked at."""

    folder: str
    """Its name in the store."""
    manifest: dict[str, Any] | None
    """None if it cannot be read."""
    problem: str = ""
    """Continues a sentence that begins with the manifest's name; empty if there is nothing to say against it."""
    n_bytes: int = 0
    """Of all its files without the manifest."""

    @property
    def name(self) -> str:
        return str(self._of("name", self.folder[:-17]))

    @property
    def version(self) -> int:
        return int(self._of("version", 0))

    @property
    def key(self) -> str:
        """Its first 16 digits if the manifest cannot be read."""
        return str(self._of("key", self.folder[-16:]))

    @property
    def label(self) -> str:
        return str(self._of("label", self.name))

    @property
    def parameters(self) -> dict[str, Json]:
        return dict(self._of("parameters", {}))

    @property
    def input_keys(self) -> list[str]:
        return list(self._of("inputs", []))

    @property
    def made(self) -> datetime | None:
        """When its stage began."""
        text = self._origin("started")
        return None if text is None else datetime.fromisoformat(text)

    @property
    def wall_s(self) -> float | None:
        """What its stage took, in seconds."""
        return None if (seconds := self._origin("wall_s")) is None else float(seconds)

    @property
    def peak_memory_mb(self) -> float | None:
        """The most that its process held meanwhile, in MiB."""
        return None if (megabytes := self._origin("peak_memory_mb")) is None else float(megabytes)

    def _of(self, name: str, otherwise: Any) -> Any:
        return otherwise if self.manifest is None else self.manifest.get(name, otherwise)

    def _origin(self, name: str) -> Any:
        return None if self.manifest is None else self.manifest["provenance"].get(name)


def folder_name(stage: Identified) -> str:
    """What a result is called in a store."""
    return f"{stage.name}-{stage.key[:16]}"


def is_folder_name(name: str) -> bool:
    """Whether a result may be called so; what else lies in a store's folder is not the store's."""
    return _FOLDER.fullmatch(name) is not None


def stored(folder: str, manifest: dict[str, Any]) -> Stored:
    """What is known of a result under the name ``folder`` whose manifest could be read."""
    found = Stored(folder=folder, manifest=manifest, n_bytes=sum(file["bytes"] for file in manifest["files"].values()))
    if folder_name(found) == folder:
        return found
    return Stored(folder=folder, manifest=None, problem=f"belongs to the key {found.key}", n_bytes=found.n_bytes)


def seal(draft: Path, stage: Identified, origin: dict[str, Json], *, is_synced: bool) -> None:
    """Write the list of files and, if ``is_synced``, bring everything to the disk.

    Raises
    ------
    ConfigError
        If the stage left something that is not a plain file, or took the name of the list.
    """
    files: dict[str, Json] = {}
    for file, path in entries(draft).items():
        if path.is_symlink() or not path.is_file():
            raise ConfigError(f"stage {stage.name} left {file}, which is not a plain file")
        if file == MANIFEST:
            raise ConfigError(f"stage {stage.name} wrote {MANIFEST}; the name is the store's")
        files[file] = {"sha256": _checksum(path), "bytes": path.stat().st_size}
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
    (draft / MANIFEST).write_bytes(sealed_text(manifest))
    if is_synced:
        for folder, _, names in os.walk(draft, topdown=False):
            for path in (*(Path(folder, name) for name in names), Path(folder)):
                sync(path)


def sealed_text(table: dict[str, Any]) -> bytes:
    """``table`` as JSON with a digest of itself."""
    return _text({**table, "sha256": _digest(table)})


def unsealed(content: bytes, schema: str) -> dict[str, Any]:
    """The table that ``sealed_text`` wrote, without the digest.

    Raises
    ------
    ArtifactError
        If any byte was changed; the message continues a sentence that begins with the file's name.
    """
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        raise ArtifactError("cannot be read") from None
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        raise ArtifactError("is not JSON") from None
    if not isinstance(table, dict):
        raise ArtifactError("is not a table of names and values")
    if table.get("schema") != schema:
        raise ArtifactError(f"does not follow the schema {schema}")
    digest = table.pop("sha256", None)
    if digest != _digest(table) or content != _text({**table, "sha256": digest}):
        raise ArtifactError("has another checksum than when it was written")
    return table


def checked_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """``manifest``, once it is known that its files lie below its folder."""
    for file in manifest["files"]:
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or path == PurePosixPath(MANIFEST):
            raise ArtifactError(f"lists {file!r}, which is no file of a result")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, or an ``ArtifactError`` that continues a sentence beginning with the file's name."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise ArtifactError("is missing") from None
    except OSError:
        raise ArtifactError("cannot be read") from None
    return checked_manifest(unsealed(content, SCHEMA))


def damages_of(folder: Path, key: str) -> list[Damage]:
    """Every file of the result with ``key`` that is changed, cut short, missing or too many."""
    if folder.is_symlink() or not folder.is_dir():
        return [Damage(folder.name, "is not a folder")]
    try:
        manifest = read_manifest(folder)
    except ArtifactError as error:
        return [Damage(MANIFEST, str(error))]
    if manifest["key"] != key:
        return [Damage(MANIFEST, f"belongs to the key {manifest['key']}")]
    damages = []
    try:
        present = entries(folder)
    except OSError as error:
        return [Damage(folder.name, f"cannot be read: {error.strerror or error}")]
    for file, expected in manifest["files"].items():
        path = present.pop(file, None)
        try:
            if path is None:
                damages.append(Damage(file, "is missing"))
            elif path.is_symlink() or not path.is_file():
                damages.append(Damage(file, "is not a plain file"))
            elif (size := path.stat().st_size) != expected["bytes"]:
                damages.append(other_size(file, size, expected["bytes"]))
            elif _checksum(path) != expected["sha256"]:
                damages.append(other_checksum(file))
        except OSError as error:
            damages.append(Damage(file, f"cannot be read: {error.strerror or error}"))
    return damages + [Damage(file, "was not written by the stage") for file in present if file != MANIFEST]


def other_size(file: str, size: int, expected: int) -> Damage:
    """A file that is longer or shorter than it was."""
    return Damage(file, f"has {size} bytes where {expected} were written")


def other_checksum(file: str) -> Damage:
    """A file of the right length with other bytes."""
    return Damage(file, "has another checksum than when it was written")


def entries(folder: Path) -> dict[str, Path]:
    """Everything below ``folder`` that is not itself a folder, by its relative name, sorted."""
    found = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


def sync(path: Path) -> None:
    """Bring a file or the names in a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _text(table: dict[str, Any]) -> bytes:
    return (json.dumps(table, indent=1) + "\n").encode("ascii")


def _digest(table: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(table).encode()).hexdigest()


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
