"""Exceptions that a user can cause; every message says what is wrong, where, and what to do.

The command line prints the message and exits with ``exit_status``: 2 when the request or the data were wrong,
1 when the run failed. Anything else that is raised is a bug of ours and keeps its traceback.
"""


class OveroptError(Exception):
    """Base of all errors that a user can cause."""

    exit_status = 2


class ConfigError(OveroptError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(OveroptError, ValueError):
    """A file or table does not hold what it must."""


class ShapeError(OveroptError, ValueError):
    """Two arrays do not share the shape they must share."""


class MissingExtraError(OveroptError, ImportError):
    """An optional dependency is needed and absent; the message names the extra that brings it."""


class EstimationError(OveroptError, ValueError):
    """The data cannot answer the question."""


class StorageError(OveroptError, OSError):
    """A folder cannot be used: not writable, or it holds another study."""


class ArtifactError(OveroptError):
    """A stored artifact is damaged and cannot be rebuilt here."""

    exit_status = 1


class StageError(OveroptError):
    """A stage of a study failed."""

    exit_status = 1


class NonFiniteError(OveroptError, ArithmeticError):
    """A loss or a gradient is not finite; raised before the optimiser step."""

    exit_status = 1
