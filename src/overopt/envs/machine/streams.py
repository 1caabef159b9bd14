"""What commands read from and print to."""

from dataclasses import dataclass

from overopt.envs.machine.files import FileSystem
from overopt.envs.machine.inodes import Inode, Place, Refused
from overopt.envs.machine.limits import LimitReached


@dataclass(frozen=True, slots=True)
class Input:
    """Standard input: all of it, and the file when it comes from one."""

    text: str = ""
    node: Inode | None = None


class Sink:
    """Collects what is printed, up to a limit.

    Raises
    ------
    LimitReached
        From :meth:`write`, when more is printed.
    """

    __slots__ = ("left", "parts")

    def __init__(self, limit: int) -> None:
        self.parts: list[str] = []
        self.left = limit

    def write(self, text: str) -> None:
        """Add ``text``."""
        self.left -= len(text)
        if self.left < 0:
            # What still fits is kept, so that the reader of a cut answer sees its beginning.
            self.parts.append(text[: len(text) + self.left])
            raise LimitReached("output")
        self.parts.append(text)

    def text(self) -> str:
        """All of it."""
        return "".join(self.parts)

    @property
    def node(self) -> Inode | None:
        """The file that is written, if any."""
        return None


class NullSink(Sink):
    """``/dev/null``."""

    __slots__ = ()

    def write(self, text: str) -> None:
        """Forget ``text``."""


class FileSink(Sink):
    """A file behind ``>`` or ``>>``: written as a whole when the command has ended, or left as it was.

    Raises
    ------
    Refused
        On creation and from :meth:`close`, if the file may not be written or a quota is full.
    """

    __slots__ = ("_created", "_files", "_place", "_truncated")

    def __init__(self, files: FileSystem, place: Place, limit: int, *, append: bool) -> None:
        super().__init__(limit)
        self._files = files
        self._truncated: str | None = None
        self._created = place.node is None
        node = files.create(place) if place.node is None else place.node
        self._place = Place(place.folder, place.name, node)
        if self._created:
            return
        if append:
            files.check_append(self._place)
        else:
            self._truncated = files.truncate(self._place)

    @property
    def node(self) -> Inode | None:
        """The file."""
        return self._place.node

    def close(self) -> None:
        """Write the file, or leave it as it was when that is refused."""
        node = self._place.node
        assert node is not None
        if node.number not in self._files.nodes:
            return
        text = self.text()
        if not text and (self._truncated is None or node.size):
            return
        try:
            if self._truncated is None:
                self._files.write(self._place, node.text + text, operation="write" if self._created else "append")
            else:
                self._files.write(self._place, text, truncated=self._truncated)
        except (Refused, LimitReached):
            self.abandon()
            raise

    def abandon(self, stopped: str = "") -> None:
        """Leave the file as it was before the command; ``stopped`` says for the record what ended it."""
        node = self._place.node
        assert node is not None
        if self._truncated is not None:
            self._files.restore(node, self._truncated)
        elif self._created and node.links == 1 and self._place.folder.entries.get(self._place.name) == node.number:
            self._files.discard(self._place)
        if stopped and not self._created:
            self._files.note_stopped(self._place, stopped)
