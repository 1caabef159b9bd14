"""Folders, files and links in memory: what is where, who may look at it, and the record of what was looked at.

An inode keeps its number and its role through renames and hard links. A path is resolved inside the tree only: the
root is its own parent. Refusals carry the words of the operating system.
"""

from collections.abc import Iterator
from typing import Self

from overopt.envs.machine.inodes import (
    DENIED,
    IS_A_FOLDER,
    LOOP,
    MISSING,
    NOT_A_FOLDER,
    READ,
    ROOT,
    SEARCH,
    TOO_LONG,
    USER,
    Inode,
    Place,
    Refused,
)
from overopt.envs.machine.limits import Limits, Meter
from overopt.envs.machine.provenance import Journal, Operation, Read, Role, Write, content_sha
from overopt.envs.machine.text import byte_length


class Tree:
    """The tree of one machine, to be looked at.

    Parameters
    ----------
    limits
        Quotas.
    clock
        Seconds since 1970 of the virtual clock.
    """

    def __init__(self, limits: Limits, clock: int) -> None:
        self.limits = limits
        self.clock = clock
        self.journal = Journal()
        self.meter: Meter | None = None
        self.used = 0
        self._next = ROOT + 1
        self.nodes: dict[int, Inode] = {ROOT: Inode(ROOT, "folder", 0o755, "root", clock, parent=ROOT)}
        self.role_paths: dict[str, Role] = {}

    def copy(self) -> Self:
        """An independent one with the same state and record."""
        other = type(self)(self.limits, self.clock)
        other.journal = self.journal.copy()
        other.used, other._next = self.used, self._next
        other.nodes = {number: node.copy() for number, node in self.nodes.items()}
        other.role_paths = dict(self.role_paths)
        return other

    # Looking

    @property
    def root(self) -> Inode:
        """The folder ``/``."""
        return self.nodes[ROOT]

    def find(self, path: str, start: Inode, *, follow: bool = True) -> Place:
        """Where ``path`` leads from the folder ``start``; ``follow`` concerns a link in the last place.

        Raises
        ------
        Refused
            If a folder on the way is missing, no folder, or closed; ``node`` is ``None`` when only the last name is.
        """
        if not path:
            raise Refused(MISSING)
        if byte_length(path) > self.limits.path_bytes:
            raise Refused(TOO_LONG)
        self._pay(len(path))
        todo = path.split("/")
        todo.reverse()
        node = self.root if path[0] == "/" else start
        folder, name, hops = node, "", 0
        while todo:
            part = todo.pop()
            if node.kind != "folder":
                raise Refused(NOT_A_FOLDER)
            if part in ("", "."):
                continue
            if not self.may(node, SEARCH):
                raise Refused(DENIED)
            if part == "..":
                node = self.nodes.get(node.parent) or node
                folder, name = node, ""
                continue
            if byte_length(part) > self.limits.name_bytes:
                raise Refused(TOO_LONG)
            number = node.entries.get(part)
            if number is None:
                if any(todo) or node.parent == 0:
                    raise Refused(MISSING)
                return Place(node, part + "/" if todo else part, None)
            child = self.nodes[number]
            if child.kind == "link" and (follow or todo):
                hops += 1
                if hops > self.limits.link_hops:
                    raise Refused(LOOP)
                self._pay(len(child.text))
                todo.extend(reversed(child.text.split("/")))
                if child.text.startswith("/"):
                    node = self.root
                folder, name = node, ""
                continue
            folder, name, node = node, part, child
        return Place(folder, name, node)

    def existing(self, path: str, start: Inode, *, follow: bool = True) -> Inode:
        """The inode that ``path`` leads to.

        Raises
        ------
        Refused
            As :meth:`find`, and if there is none.
        """
        node = self.find(path, start, follow=follow).node
        if node is None:
            raise Refused(MISSING)
        return node

    def may(self, node: Inode, wish: int) -> bool:
        """Whether the acting account has the permission bits ``wish``; set-up and grader may do anything."""
        if self.journal.actor != "model":
            return True
        shift = 6 if node.owner == USER else 0
        return (node.mode >> shift) & wish == wish

    def children(self, node: Inode, *, record: bool = True) -> list[tuple[str, Inode]]:
        """The entries of a folder by name; ``record`` notes that it was looked at.

        Raises
        ------
        Refused
            If it is no folder or may not be read.
        """
        if node.kind != "folder":
            raise Refused(NOT_A_FOLDER)
        if not self.may(node, READ):
            raise Refused(DENIED)
        self._pay(12 * len(node.entries))
        if record:
            self._note_read(node, self.path_of(node))
        return [(name, self.nodes[number]) for name, number in sorted(node.entries.items())]

    def read(self, place: Place) -> str:
        """The content of the file at ``place``; devices are empty.

        Raises
        ------
        Refused
            If there is none, it is a folder or it may not be read.
        """
        node = place.node
        if node is None:
            raise Refused(MISSING)
        if node.kind == "folder":
            raise Refused(IS_A_FOLDER)
        if not self.may(node, READ):
            raise Refused(DENIED)
        if node.kind == "device":
            return ""
        if self.meter is not None:
            self.meter.bulk(len(node.text))
        self._note_read(node, self.path_of(place.folder, place.name))
        return node.text

    def path_of(self, folder: Inode, name: str = "") -> str:
        """Absolute path of a folder, or of an entry of it; of a removed folder only what is left of it."""
        parts = [name] if name else []
        while folder.number != ROOT and folder.parent:
            parts.append(folder.name)
            folder = self.nodes[folder.parent]
        return "/" + "/".join(reversed(parts))

    def paths(self) -> Iterator[tuple[str, Inode]]:
        """Every path with its inode, links not followed; a hard link appears under each of its names."""
        stack = [("", self.root)]
        yield "/", self.root
        while stack:
            prefix, folder = stack.pop()
            for name, number in sorted(folder.entries.items()):
                node = self.nodes[number]
                yield f"{prefix}/{name}", node
                if node.kind == "folder":
                    stack.append((f"{prefix}/{name}", node))

    def is_inside(self, folder: Inode, other: Inode) -> bool:
        """Whether ``folder`` is ``other`` or lies below it."""
        while folder.number != other.number:
            if folder.number == ROOT or folder.parent == 0:
                return False
            folder = self.nodes[folder.parent]
        return True

    # Helpers

    def _level(self, folder: Inode) -> int:
        level = 0
        while folder.number != ROOT and folder.parent:
            level += 1
            folder = self.nodes[folder.parent]
        return level

    def _height(self, node: Inode) -> int:
        height, layer = 0, [node]
        while layer := [self.nodes[number] for above in layer for number in above.entries.values()]:
            height += 1
        return height

    def _place_of(self, node: Inode) -> Place:
        return next(
            Place(folder, name, node)
            for folder in self.nodes.values()
            for name, number in folder.entries.items()
            if number == node.number
        )

    def _pay(self, steps: int) -> None:
        if self.meter is not None:
            self.meter.spend(1 + steps // 4)

    def _charge(self, chars: int) -> None:
        # Before anything changes: a call that is stopped here leaves neither a change without its record nor a record
        # without its change.
        if self.meter is not None:
            self.meter.spend(200 + chars // 16)

    def _sha(self, node: Inode) -> str | None:
        if node.kind != "file":
            return None
        if node.sha is None:
            node.sha = content_sha(node.text)
        return node.sha

    def _note(
        self,
        operation: Operation,
        place: Place,
        node: Inode,
        before: str | None,
        *,
        after: str | None = "",
        size: int | None = None,
        target: str = "",
        refused: str = "",
    ) -> None:
        journal = self.journal
        journal.writes.append(
            Write(
                step=journal.step,
                actor=journal.actor,
                command=journal.command,
                operation=operation,
                path=self.path_of(place.folder, place.name),
                inode=node.number,
                role=node.role,
                sha_before=before,
                sha_after=self._sha(node) if after == "" else after,
                size=node.size if size is None else size,
                target=target,
                refused=refused,
            )
        )

    def _note_read(self, node: Inode, path: str) -> None:
        journal = self.journal
        if journal.actor == "model":
            entry = Read(journal.step, journal.actor, journal.command, path, node.number, node.role)
            if not journal.reads or journal.reads[-1] != entry:
                journal.reads.append(entry)
