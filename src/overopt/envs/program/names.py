"""Names of files in the program's own tree, as absolute texts with slashes."""


def join(folder: str, name: str) -> str:
    """``folder/name`` as an absolute name without ``.`` and ``..``; the root is its own parent."""
    if name.startswith("/") and "//" not in name and "/." not in name and name[-1] != "/":
        return name
    parts: list[str] = []
    for part in (name if name.startswith("/") else f"{folder}/{name}").split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def inside(folder: str, name: str) -> str:
    """``folder/name`` for an absolute folder and a name of one part: what :func:`join` gives, at a glance."""
    return f"{folder}/{name}" if folder != "/" else f"/{name}"


def folder_of(file: str) -> str:
    """The folder part of an absolute name."""
    return file.rpartition("/")[0] or "/"
