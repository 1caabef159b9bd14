"""Answers of a judge on disk, so that no text is paid for twice and a broken run goes on where it stopped."""

import sqlite3
import threading
import time
from pathlib import Path

from overopt.errors import StorageError


class JudgeCache:
    """Scores by key in one SQLite file, each committed when it comes; several processes may share it.

    Raises
    ------
    StorageError
        If the file cannot be opened or is no such database.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One connection for all threads of a judge, which take turns.
            self._connection = sqlite3.connect(self.path, timeout=60, check_same_thread=False)
            with self._connection:
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS answers "
                    "(key TEXT PRIMARY KEY, score REAL NOT NULL, answer TEXT NOT NULL, model TEXT NOT NULL, time REAL)"
                )
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"the judge's cache {self.path} cannot be used: {error}") from error

    def get(self, key: str) -> float | None:
        """The score under that key, or ``None``."""
        with self._lock:
            row = self._execute("SELECT score FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else float(row[0])

    def put(self, key: str, score: float, *, answer: str, model: str) -> None:
        """Keep a score with the words it was read from."""
        values = (key, score, answer, model, time.time())
        with self._lock:
            self._execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", values)

    def __len__(self) -> int:
        with self._lock:
            return int(self._execute("SELECT COUNT(*) FROM answers", ()).fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _execute(self, statement: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        try:
            with self._connection:  # commits
                return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise StorageError(f"the judge's cache {self.path} cannot be used: {error}") from error
