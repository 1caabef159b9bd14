"""Budgets of an interpreted program, counted in work and not in seconds, so that a run ends alike everywhere."""

from dataclasses import asdict, dataclass

from overopt.errors import ConfigError


class BudgetExceeded(Exception):
    """The program wanted more than one of its budgets; it cannot catch this itself."""

    def __init__(self, budget: str) -> None:
        super().__init__(budget)
        self.budget = budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run of one program may use. Every value is a count of at least 1."""

    source: int = 10_000
    """Characters of one source file."""
    tokens: int = 4_000
    """Words, symbols and ends of lines of one source file."""
    nesting: int = 80
    """Levels of its syntax tree."""
    steps: int = 10_000
    """Nodes of the tree that are evaluated: about 2,500 statements."""
    depth: int = 200
    """Evaluations inside each other, calls included: some 40 calls. Keeps the host's own stack below 600 frames."""
    work: int = 80_000
    """Characters and items that are made, compared or searched by one operation, summed over the run."""
    text: int = 10_000
    """Characters of one string."""
    items: int = 1_000
    """Items of one list, tuple, dict or set."""
    bits: int = 1_024
    """Binary digits of one integer."""
    output: int = 16_384
    """Characters printed."""

    def __post_init__(self) -> None:
        wrong = [name for name, limit in asdict(self).items() if not limit >= 1]
        if wrong:
            raise ConfigError(f"limits must be at least 1; these are not: {', '.join(wrong)}")


DEFAULT_LIMITS = Limits()


class Meter:
    """What a run has left. ``depth`` is counted up by whoever evaluates and put back by whoever catches."""

    __slots__ = ("depth", "limits", "steps_left", "work_left")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.steps_left = limits.steps
        self.work_left = limits.work
        self.depth = 0

    @property
    def spent(self) -> float:
        """Share of the steps or of the work that is used up, whichever is larger; 0 to 1."""
        left = min(self.steps_left / self.limits.steps, self.work_left / self.limits.work)
        return 1.0 - max(left, 0.0)

    def step(self, count: int = 1) -> None:
        """Take ``count`` steps."""
        self.steps_left -= count
        if self.steps_left < 0:
            raise BudgetExceeded("steps")

    def charge(self, amount: int) -> None:
        """Take ``amount`` characters or items of work."""
        self.work_left -= amount
        if self.work_left < 0:
            raise BudgetExceeded("work")

    def text(self, length: int) -> None:
        """Allow a string of ``length`` characters, before it is built."""
        if length > self.limits.text:
            raise BudgetExceeded("text")
        self.charge(length)

    def items(self, count: int) -> None:
        """Allow a collection of ``count`` items, before it is built."""
        if count > self.limits.items:
            raise BudgetExceeded("items")
        self.charge(count)

    def bits(self, count: int) -> None:
        """Allow an integer of ``count`` binary digits, before it is computed."""
        if count > self.limits.bits:
            raise BudgetExceeded("bits")
