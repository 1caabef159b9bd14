"""The report of a study that answers questions: a front page with the table of claims, and a page for each question.

Pages load nothing, not even each other's files: style, pictures and the one small script stand in each, and a content
security policy lets no other run. Without scripts all is there but the search and the numbers under the pointer.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from overopt.errors import DataError
from overopt.reports import answer_claims, numbers
from overopt.reports.answer_claims import Found, claims_of
from overopt.reports.answer_drawings import Drawing, figure_from
from overopt.reports.answer_pictures import colour_style, export_png, export_svg, page_svg
from overopt.reports.answer_scales import label
from overopt.reports.answer_tables import Shown, csv_bytes, shown_table
from overopt.reports.page import flat_settings, source_hash, stages_of
from overopt.reports.writing import write_atomically

FRONT = "report.html"
PAGES = "report"
CLAIMS = "claims"
"""File name of the table of claims, which no figure or table may take."""

_HERE = Path(__file__).parent
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure on its page."""

    name: str
    title: str
    caption: str
    notes: Sequence[str]
    drawing: Drawing | None
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table on its page."""

    name: str
    title: str
    note: str
    shown: Shown
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Page:
    """One question with all that its page shows."""

    id: str
    title: str
    found: Found
    pictures: Sequence[Picture]
    tables: Sequence[Table]

    @property
    def claims(self) -> list[Found]:
        """Of the answer."""
        return claims_of(self.found)

    @property
    def drawings(self) -> list[Drawing]:
        """Of the figures that hold something to draw."""
        return [picture.drawing for picture in self.pictures if picture.drawing is not None]

    @property
    def part_names(self) -> list[str]:
        """Of its figures and tables."""
        return [*(picture.name for picture in self.pictures), *(table.name for table in self.tables)]

    @property
    def search(self) -> str:
        """All words by which a reader may look for the page, but its texts."""
        claims = (value for claim in self.claims for value in _claim_words(claim))
        figures = (value for picture in self.pictures for value in (picture.title, picture.caption))
        tables = (value for table in self.tables for value in (table.title, table.note))
        own = (self.found.get(key) for key in ("id", "title", "question", "how"))
        return _joined([*own, *claims, *figures, *tables, *(self.found.get("caveats") or [])])


def write_site(results: Mapping[str, Any], folder: Path) -> None:
    """Write ``report.html``, a page for each question, and every figure and table as files of their own.

    Parameters
    ----------
    results : mapping
        What ``results.json`` holds: ``questions`` is a list of answers as :meth:`Answer.to_dict` makes them; ``study``,
        ``preset``, ``seed``, ``level``, ``settings``, ``data``, ``base``, ``versions`` and ``timings`` may be absent.
    folder : Path
        Gets ``report.html`` and, in ``report/``, ``QUESTION.html``, ``figures/NAME.svg`` and ``.png``,
        ``tables/NAME.csv`` of every figure and table, and ``tables/claims.csv``. A figure without anything to draw has
        no picture. Files that are there and not written stay.

    Raises
    ------
    DataError
        If ``questions`` is no list, a name cannot be a file's, or two have one name.
    """
    pages = _pages(results)
    inner = folder / PAGES
    for part in (inner / "figures", inner / "tables"):
        part.mkdir(parents=True, exist_ok=True)
    for page in pages:
        for picture in page.pictures:
            write_atomically(inner / "tables" / f"{picture.name}.csv", csv_bytes(picture.rows))
            if picture.drawing is not None:
                svg = export_svg(picture.drawing)
                write_atomically(inner / "figures" / f"{picture.name}.svg", svg)
                write_atomically(inner / "figures" / f"{picture.name}.png", export_png(svg))
        for table in page.tables:
            write_atomically(inner / "tables" / f"{table.name}.csv", csv_bytes(table.rows))
    claims = answer_claims.claim_rows([page.found for page in pages])
    write_atomically(inner / "tables" / f"{CLAIMS}.csv", csv_bytes(claims))
    for index in range(len(pages)):
        write_atomically(inner / f"{pages[index].id}.html", _bytes(_question_html(results, pages, index)))
    # The front page comes last: what it links to is there.
    write_atomically(folder / FRONT, _bytes(_front_html(results, pages)))


def _bytes(page: str) -> bytes:
    # Half of a surrogate pair can stand in JSON and not in UTF-8.
    return page.encode("utf-8", "replace")


def _pages(results: Mapping[str, Any]) -> list[Page]:
    questions = results.get("questions") or []
    if not isinstance(questions, Sequence) or not all(isinstance(question, Mapping) for question in questions):
        raise DataError("a report of questions needs a list of answers under questions")
    pages = [_page(question) for question in questions]
    _check_names("question", [page.id for page in pages])
    _check_names("figure or table", [CLAIMS, *(name for page in pages for name in page.part_names)])
    return pages


def _check_names(kind: str, names: Sequence[str]) -> None:
    """Names become files, on file systems that may not tell capitals from small letters."""
    seen: set[str] = set()
    for name in names:
        if not _NAME.fullmatch(name):
            raise DataError(f"the name of a {kind} needs letters, digits, - _ and . alone; got {name!r}")
        if name.lower() in seen:
            raise DataError(f"two of the names of a {kind} are {name!r}; each needs its own")
        seen.add(name.lower())


def _page(found: Found) -> Page:
    name = str(found.get("id") or "")
    pictures = [_picture(figure) for figure in found.get("figures") or []]
    tables = [
        Table(str(table.get("name") or ""), str(table.get("title") or ""), str(table.get("note") or ""),
              shown_table(table), list(table.get("rows") or []))
        for table in found.get("tables") or []
    ]  # fmt: skip
    return Page(name, str(found.get("title") or name), found, pictures, tables)


def _picture(found: Found) -> Picture:
    drawing = Drawing.of(figure_from(found)) if found.get("rows") else None
    notes = drawing.notes if drawing else ["Nothing to draw: no row has a number for both axes."]
    title, caption = (str(found.get(key) or "") for key in ("title", "caption"))
    return Picture(str(found.get("name") or ""), title, caption, notes, drawing, list(found.get("rows") or []))


# --- pages


def _question_html(results: Mapping[str, Any], pages: Sequence[Page], index: int) -> str:
    page = pages[index]
    svgs = {
        picture.name: [page_svg(picture.drawing, picture.name, look) for look in ("wide", "narrow")]
        for picture in page.pictures if picture.drawing is not None
    }  # fmt: skip
    return _rendered(
        "answer.html.jinja",
        page.drawings,
        page=page,
        svgs=svgs,
        previous=pages[index - 1] if index else None,
        next=pages[index + 1] if index + 1 < len(pages) else None,
        command=answer_claims.command(results, page.id),
        results=results,
    )


def _front_html(results: Mapping[str, Any], pages: Sequence[Page]) -> str:
    first = {page.id: page.drawings[0].first_panel() for page in pages if page.drawings}
    names = {
        page.id: next(picture.name for picture in page.pictures if picture.drawing) for page in pages if page.drawings
    }
    stages = stages_of(results)
    return _rendered(
        "answers.html.jinja",
        first.values(),
        pages=pages,
        previews={name: page_svg(drawing, names[name], "preview") for name, drawing in first.items()},
        introduction=answer_claims.introduction(results),
        tally=answer_claims.tally_words([page.found for page in pages]),
        totals=answer_claims.counts([claim for page in pages for claim in page.claims]),
        command=answer_claims.command(results),
        settings=list(flat_settings(results.get("settings"))),
        kinds=_stage_kinds(stages),
        stages=stages,
        results=results,
    )


def _rendered(template: str, drawings: Iterable[Drawing], **values: Any) -> str:  # Any: whatever a template shows
    style = "\n".join([*(_read(name) for name in ("report.css", "answer.css")), colour_style(drawings)])
    script = _read("answer.js")
    # Vega is not on these pages, so neither evaluation nor styles of single elements are needed.
    policy = (
        f"default-src 'none'; script-src {source_hash(script)}; style-src {source_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    page = (
        _environment()
        .get_template(template)
        .render(style=Markup(style), script=Markup(script), policy=policy, **values)
    )
    return page.lstrip() + "\n"


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.ChainableUndefined,
        finalize=_or_nothing, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {name: getattr(numbers, name) for name in ("decimal", "count", "seconds")}
    environment.filters |= {
        name: getattr(answer_claims, name) for name in (
            "agreement", "counts", "held_against", "badge_words", "detail_of",
        )
    }  # fmt: skip
    environment.filters |= {"search": _claim_search, "label": label}
    return environment


def _or_nothing(value: object) -> object:
    return "" if value is None else value


def _claim_words(claim: Found) -> list[object]:
    published = claim.get("published") or {}
    words = answer_claims.AGREEMENTS[answer_claims.agreement(claim)]
    own = [claim.get(key) for key in ("id", "what", "sentence", "counted", "note")]
    return [words, *own, *(published.get(key) for key in ("finding", "source", "why_not"))]


def _claim_search(claim: Found, page: Page) -> str:
    return _joined([page.title, page.found.get("question"), *_claim_words(claim)])


def _joined(values: Iterable[object]) -> str:
    return " ".join(" ".join(str(value).split()) for value in values if value).lower()


def _stage_kinds(stages: Sequence[Found]) -> list[dict[str, Any]]:
    """Stages of one name together, those that took longest first."""
    kinds: dict[str, list[Found]] = {}
    for stage in stages:
        kinds.setdefault(str(stage.get("name") or stage.get("label") or "–"), []).append(stage)
    found = []
    for name, group in kinds.items():
        times, memory = (
            [stage[key] for stage in group if numbers.is_known(stage.get(key))] for key in ("seconds", "peak_memory_mb")
        )
        found.append({
            "name": name, "n": len(group), "seconds": sum(times) if times else None,
            "longest": max(times, default=None),
            "memory": max(memory, default=None),
        })  # fmt: skip
    return sorted(found, key=lambda kind: (-(kind["seconds"] or 0), kind["name"]))
