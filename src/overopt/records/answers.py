"""What a study answers: claims with intervals beside what was published, and the rows of every figure and table.

An answer is data. Whether a claim agrees with a paper follows from its interval by the rule of :attr:`Claim.outcome`,
and its sentence is the one that was written for that outcome before the numbers were known.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from overopt.errors import DataError

Outcome = Literal["above", "below", "equal", "open", "unknown"]
Agreement = Literal["agrees", "differs", "undetermined", "not_comparable", "not_published"]
Scale = Literal["linear", "log", "sqrt"]
Mark = Literal["line", "point", "band", "bar", "heat", "text"]
Rows = Sequence[Mapping[str, Any]]  # Any: the cells of a table in JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a paper found about the quantity of a claim."""

    finding: str
    """In our words, with its number where it has one."""
    source: str
    """Authors, year, figure or section."""
    outcomes: tuple[Outcome, ...] = ()
    """The outcomes of a claim that agree with it; empty where ours cannot be compared."""
    why_not: str = ""
    """The reason where it cannot be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One number that answers a question, or part of one.

    Raises
    ------
    DataError
        If the interval does not hold the value, or an outcome that can come about has no sentence.
    """

    id: str
    """Unique in its study; enters addresses."""
    what: str
    """The quantity, a noun phrase."""
    value: float | None
    """``None`` where it could not be computed; then ``note`` says why."""
    ci: tuple[float | None, float | None]
    """Interval at ``level``; an end that is unknown is ``None``."""
    counted: str
    """What the interval is over: ``64 prompts, 2 seeds``."""
    sentences: Mapping[Outcome, str]
    """For "above", "below" and "open", and for "equal" where there is a margin; ``{value}``, ``{size}`` (without its
    sign) and ``{ci}`` are filled in, the interval beside a size without that sign too."""
    level: float = 0.95
    unit: str = ""
    digits: int = 2
    reference: float = 0.0
    """What the value is held against."""
    margin: float | None = None
    """Within this of ``reference`` counts as equal; chosen before the numbers are seen, and stated in ``what``."""
    published: Published | None = None
    note: str = ""
    """What a reader must know besides."""

    def __post_init__(self) -> None:
        low, high = self.ci
        if self.value is not None:
            if not math.isfinite(self.value):
                raise DataError(f"claim {self.id}: an unknown value is None, not {self.value}")
            if any(end is not None and not math.isfinite(end) for end in self.ci):
                raise DataError(f"claim {self.id}: an unknown end of an interval is None, not {list(self.ci)}")
            slack = 1e-9 * max(1.0, abs(self.value))
            if (low is not None and low > self.value + slack) or (high is not None and high < self.value - slack):
                raise DataError(f"claim {self.id}: {self.value} lies outside of its interval {list(self.ci)}")
        needed = {"above", "below", "open", *(["equal"] if self.margin is not None else [])}
        if missing := sorted(needed - set(self.sentences)):
            raise DataError(f"claim {self.id} has no sentence for {', '.join(missing)}")

    @property
    def outcome(self) -> Outcome:
        """By the interval: inside the margin is "equal", beside the reference "above" or "below", around it "open"."""
        low, high = self.ci
        if self.value is None or low is None or high is None:
            return "unknown"
        if self.margin is not None and self.reference - self.margin <= low and high <= self.reference + self.margin:
            return "equal"
        if low > self.reference:
            return "above"
        return "below" if high < self.reference else "open"

    @property
    def agreement(self) -> Agreement:
        """With what was published."""
        if self.published is None:
            return "not_published"
        if not self.published.outcomes:
            return "not_comparable"
        if self.outcome in ("open", "unknown"):
            return "undetermined"
        return "agrees" if self.outcome in self.published.outcomes else "differs"

    @property
    def sentence(self) -> str:
        """The finding in words."""
        if self.outcome == "unknown":
            known = "" if self.value is None else f" ({self._shown(self.value)} {self._interval(False)})"
            return f"Not known: {self.what}{known}{': ' + self.note if self.note else ''}."
        assert self.value is not None
        words = self.sentences[self.outcome]
        is_turned = "{size}" in words and self.value < 0
        return words.format(
            value=self._shown(self.value), size=self._shown(abs(self.value)), ci=self._interval(is_turned)
        )

    def _shown(self, value: float) -> str:
        return _number(value, self.digits) + self._unit

    def _interval(self, is_turned: bool) -> str:
        """The interval, or that of the value with the other sign."""
        ends = [None if end is None else -end for end in reversed(self.ci)] if is_turned else self.ci
        low, high = (_number(end, self.digits) for end in ends)
        return f"[{low}, {high}]"

    @property
    def _unit(self) -> str:
        return f"\N{NO-BREAK SPACE}{self.unit}" if self.unit else ""

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``, with what follows from the numbers."""
        found = {**asdict(self), "outcome": self.outcome, "agreement": self.agreement, "sentence": self.sentence}
        del found["sentences"]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A column of a figure's rows as a position."""

    field: str
    title: str
    scale: Scale = "linear"
    from_zero: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A column of a figure's rows as colour, shape, dash or panel."""

    field: str
    title: str
    is_ordered: bool = False
    """Sizes and other steps of one quantity get a ramp of colours; kinds get colours of their own."""
    values: tuple[str | float, ...] = ()
    """The order of the legend; that of the rows unless given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureData:
    """Rows and how they are drawn; the rows are also the figure's CSV file."""

    name: str
    """Anchor and file name, unique in its study."""
    title: str
    caption: str
    rows: Rows
    x: Axis
    y: Axis
    marks: tuple[Mark, ...] = ("line", "point")
    """"band" and the bars of "point" need ``low`` and ``high``; "heat" and "text" need ``value``."""
    low: str | None = None
    """Columns with the ends of the interval of y; a row without them has no bar."""
    high: str | None = None
    colour: Channel | None = None
    shape: Channel | None = None
    dash: Channel | None = None
    """Kinds of lines, such as measured and fitted; a line joins rows of one colour, shape, dash and panel."""
    panel: Channel | None = None
    """One small chart for each value, with common axes."""
    order: str | None = None
    """The column along which a line runs, x unless given."""
    value: str | None = None
    """Of "heat", the column that the colour of a cell shows; of "text", what is written."""
    written: str | None = None
    """The column with what is written on a cell, ``value`` unless given; it may have several lines."""
    reference: float | None = None
    """A quiet line at this y."""

    def __post_init__(self) -> None:
        if not self.rows:
            raise DataError(f"figure {self.name} has no rows")
        channels = (self.colour, self.shape, self.dash, self.panel)
        named = [self.x.field, self.y.field, *(c.field for c in channels if c is not None)]
        named += [column for column in (self.low, self.high, self.order, self.value, self.written) if column]
        if absent := sorted(set(named) - set(self.rows[0])):
            raise DataError(f"figure {self.name} has no column {', '.join(absent)}")
        if unknown := sorted(set(self.marks) - set(get_args(Mark))):
            raise DataError(f"figure {self.name} has no mark {', '.join(unknown)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableData:
    """A table of an answer; its rows are also a CSV file."""

    name: str
    title: str
    columns: Mapping[str, str]
    """Column of the rows → its heading, in reading order. A column ``x_ci`` of pairs is shown beside ``x``."""
    rows: Rows
    digits: int = 3
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A text with what it scored."""

    place: str
    """``n = 64``, ``step 40``, ``round 2``."""
    completion: str
    numbers: Mapping[str, float | None]
    """Name → value, such as KL, proxy, gold; the same names in each sample of a ladder."""
    diff: str = ""
    """What it changed, if anything: lines that begin with + or - are marked, others are shown as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLadder:
    """Replies to one prompt at growing pressure."""

    title: str
    prompt: str
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One page of a study's report."""

    id: str
    """File name, and what ``--only`` takes."""
    title: str
    """A few words."""
    question: str
    """One sentence that ends in a question mark."""
    how: str
    """What was run and how it was measured, for someone who doubts it."""
    claims: Sequence[Claim]
    figures: Sequence[FigureData] = ()
    tables: Sequence[TableData] = ()
    texts: Sequence[TextLadder] = ()
    caveats: Sequence[str] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {**asdict(self), "claims": [claim.to_dict() for claim in self.claims]}


def _number(value: float | None, digits: int) -> str:
    """A true minus sign, and no "-0.00"."""
    if value is None:
        return "unknown"
    text = f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "−")
