"""Open a store by its address: a folder, or anything that fsspec has a driver for."""

import hashlib
import os
import re
import sys
from pathlib import Path

from overopt.errors import ConfigError, MissingExtraError, StorageError
from overopt.workflow.store import Store

_CACHE_MARK = "#cache="
_PROTOCOL = re.compile(r"[a-z][a-z0-9+]+:")


def open_store(address: str | Path, *, cache: Path | None = None) -> Store:
    """The store at ``address``, which is a folder or ``PROTOCOL://PLACE``.

    A folder is made if it is missing. ``file://FOLDER`` lays results out as object stores do, and ``memory://NAME``
    lives and dies with this process. Credentials and endpoints are those that the driver finds in its usual places.

    Parameters
    ----------
    address : str or Path
        ``runs/store``, ``s3://bucket/path``, ``gs://bucket/path``, ``abfs://container/path`` …
    cache : Path, optional
        Folder to which results from an address are fetched, for this address only; by default one below the user's
        cache folder. ``Store.address`` then names it too. Not for folders, which need none.

    Raises
    ------
    ConfigError
        If there is no such protocol, or the address names no place.
    MissingExtraError
        If the package that knows the protocol is not installed.
    StorageError
        If the place cannot be used: no credentials, nobody answers, not a folder, or its results are laid out for the
        other way of opening it.
    """
    text = os.fspath(address)
    if isinstance(address, Path) and _PROTOCOL.match(text):  # a path has lost a slash of s3://
        raise ConfigError(f"{text} is an address, not a path; give it as text")
    if "://" not in text:
        if cache is not None:
            raise ConfigError(f"{text} is a folder; a cache is for addresses such as s3://bucket/path")
        if any(Path(text).glob("*-????????????????.artifact.json")):
            raise StorageError(f"{text} holds results in the layout of addresses; open it as file://{_absolute(text)}")
        return Store(text)
    if cache is None and _CACHE_MARK in text:
        text, _, folder = text.rpartition(_CACHE_MARK)
        cache = Path(folder)
    return _open_address(text.rstrip("/") if not text.endswith("://") else text, cache)


def default_cache(address: str) -> Path:
    """Where results of ``address`` are fetched to unless told otherwise."""
    home = Path.home() / "Library" / "Caches" if sys.platform == "darwin" else Path.home() / ".cache"
    base = Path(os.environ.get("XDG_CACHE_HOME") or home)
    return base / "overopt" / "stores" / hashlib.sha256(address.encode()).hexdigest()[:16]


def _open_address(address: str, cache: Path | None) -> Store:
    # Slow to import, and most stores are folders.
    from fsspec.core import url_to_fs

    from overopt.workflow.objects import Objects
    from overopt.workflow.remote import RemoteStore

    protocol, _, place = address.partition("://")
    if not place and protocol != "memory":
        raise ConfigError(f"{address} names no place; write it like {protocol}://bucket/path")
    if "::" in address:
        raise ConfigError(f"{address} is a chain of addresses; a store takes a single one such as s3://bucket/path")
    _check_driver(address, protocol)
    try:
        # Another process may have written since a listing was remembered.
        filesystem, root = url_to_fs(address, use_listings_cache=False)
    except Exception as error:  # each driver raises exceptions of its own
        cause = " ".join(str(error).split()) or type(error).__name__
        raise StorageError(f"{address} cannot be used for results: {cause}") from error
    if protocol in {"file", "local"} and any(Path(root).glob("*-????????????????/_artifact.json")):
        raise StorageError(f"{address} holds results in the layout of folders; open it as {root}")
    objects = Objects(filesystem, root, address)
    objects.probe()
    if cache is None:
        return RemoteStore(objects, default_cache(address), address)
    return RemoteStore(objects, cache, f"{address}{_CACHE_MARK}{_absolute(cache)}")


def _check_driver(address: str, protocol: str) -> None:
    from fsspec.registry import available_protocols, get_filesystem_class, known_implementations

    try:
        get_filesystem_class(protocol)
    except ValueError:
        raise ConfigError(
            f"{address}: there is no protocol {protocol}://; a store is a folder or an address such as "
            f"s3://bucket/path ({len(available_protocols())} protocols are known to fsspec)"
        ) from None
    except ImportError:
        package = known_implementations[protocol]["class"].partition(".")[0]
        if package == "fsspec":
            raise MissingExtraError(f"{address}: {known_implementations[protocol]['err']}") from None
        raise MissingExtraError(
            f"{address} needs the package {package}, not installed here; run: pip install {package}"
        ) from None


def _absolute(path: str | Path) -> Path:
    return Path(path).absolute()
