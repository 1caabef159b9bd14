"""One self-contained page of a study: findings first, then figures, fits, proxies, texts and settings.

The page asks nothing of any network. Everything in it that a model or a person wrote passes through autoescaping, the
figures' numbers stand in script elements that are data, and a content security policy lets only our two scripts run.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from overopt.reports import findings, numbers
from overopt.reports.charts import SECTIONS, Section
from overopt.reports.figures import Figure, figures
from overopt.reports.palette import SCHEMES, chart_config, size_colours
from overopt.reports.results import (
    METHOD_NAMES,
    METHODS,
    Results,
    Row,
    Sizes,
    capitalized,
    check_schema,
    distance,
    interval_word,
    proxy_words,
    rows_of,
)
from overopt.reports.writing import write_atomically

PAGE_FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class LadderPart:
    """One part of gold in a row of the ladder, with the bar that shows it."""

    name: str
    value: float | None
    length: float
    """Share of the longest bar of the page, 0 for an unknown value."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """All texts shown for one prompt."""

    prompt_id: str
    prompt: str
    entries: list[Row]


def write_report(results: Results, path: Path) -> None:
    """Write the page of ``results`` to ``path``; what was there stays whole until the new page is."""
    write_atomically(path, render(results).encode())


def render(results: Results) -> str:
    """The page of a study's results as HTML.

    Parameters
    ----------
    results : mapping
        What ``results.json`` holds (schema ``overopt.study/1``); any number may be ``None`` and is then shown as a
        dash.

    Raises
    ------
    DataError
        If ``results`` are not those of a study.
    """
    check_schema(results)
    sizes = Sizes.of(results)
    found = figures(results)
    libraries, script = _libraries(), _script()
    n_sizes = len(sizes.labels)
    page = _environment().get_template("report.html.jinja").render(
        results=results,
        style=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        size_colours={scheme: size_colours(scheme, max(n_sizes, 1)) for scheme in SCHEMES},
        policy=_content_security_policy(libraries, script),
        libraries=Markup(libraries),
        script=Markup(script),
        configs=Markup(_script_json(_configs(n_sizes))),
        sizes=sizes,
        introduction=findings.introduction(results),
        headlines=findings.headlines(results),
        outcomes={method: findings.outcomes(results, method) for method in METHODS},
        method_names={method: capitalized(name) for method, name in METHOD_NAMES.items()},
        figures={section: _in_section(found, section) for section in SECTIONS},
        has_seed_fits=any(row.get("per_seed") for row in rows_of(results, "bon")),
        interval_word=interval_word(results),
        ladders=_ladders(results),
        part_names=_part_names(results),
        ladder_parts=functools.partial(_ladder_parts, names=_part_names(results), longest=_longest_part(results)),
        group_words=functools.partial(_group_words, _rows_by_name(results)),
        settings=list(flat_settings(results.get("settings"))),
        stages=stages_of(results),
        longest_stage=max(filter(numbers.is_known, (row.get("seconds") for row in stages_of(results))), default=0),
    )  # fmt: skip
    return page.lstrip() + "\n"  # the macros before the doctype leave empty lines


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        name: getattr(numbers, name)
        for name in (
            "decimal", "score", "coefficient", "percent", "nats", "count", "short_count", "seconds", "interval",
            "score_interval", "percent_interval", "with_error",
        )
    }  # fmt: skip
    environment.filters |= {
        "verdict_words": findings.verdict_words, "status_words": findings.status_words, "proxy_words": proxy_words,
        "distance": distance,
    }  # fmt: skip
    environment.globals["place"] = findings.place
    return environment


def _configs(n_sizes: int) -> dict[str, object]:
    return {scheme: chart_config(scheme, n_sizes, font=PAGE_FONT, legend_columns=4) for scheme in SCHEMES}


def _in_section(found: list[Figure], section: Section) -> dict[str, list[tuple[Figure, Markup]]]:
    """The figures of a section with their specifications, the large ones and the small ones."""
    chosen = [(figure, Markup(_script_json(figure.spec()))) for figure in found if figure.section == section]
    return {
        "large": [item for item in chosen if not item[0].is_small],
        "small": [item for item in chosen if item[0].is_small],
    }


def _script_json(value: object) -> str:
    """JSON that may stand inside a script element: ASCII, without ``<``, ``>`` or ``&``, and without NaN."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@functools.cache
def _libraries() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script without references to anything outside."""
    return _inside_script_element(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _script() -> str:
    return _inside_script_element((_HERE / "report.js").read_text(encoding="utf-8"))


def _inside_script_element(code: str) -> str:
    """The same program without the two letter sequences that a script element may not hold outside of strings."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _content_security_policy(*scripts: str) -> str:
    allowed = " ".join(map(source_hash, scripts))
    # Vega compiles its expressions, hence unsafe-eval; its figures carry style attributes, hence unsafe-inline.
    return f"default-src 'none'; script-src {allowed} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"


def source_hash(code: str) -> str:
    """What a content security policy calls a script or a style that stands in the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _ladders(results: Results) -> list[Ladder]:
    ladders: dict[str, Ladder] = {}
    for entry in rows_of(results, "ladder"):
        name = str(entry.get("prompt_id"))
        ladder = ladders.setdefault(name, Ladder(name, str(entry.get("prompt") or ""), []))
        ladder.entries.append(entry)
    return list(ladders.values())


def _ladder_rows(results: Results) -> Iterator[Row]:
    for entry in rows_of(results, "ladder"):
        yield from entry.get("rows") or []


def _part_names(results: Results) -> list[str]:
    return list(dict.fromkeys(name for row in _ladder_rows(results) for name in row.get("parts") or {}))


def _longest_part(results: Results) -> float:
    """The largest absolute value of any part: bars of all parts and rows share one scale."""
    values = (value for row in _ladder_rows(results) for value in (row.get("parts") or {}).values())
    return max((abs(value) for value in values if numbers.is_known(value)), default=0.0)


def _ladder_parts(row: Row, *, names: list[str], longest: float) -> list[LadderPart]:
    parts = row.get("parts") or {}
    found = []
    for name in names:
        value = parts.get(name)
        length = abs(value) / longest if numbers.is_known(value) and longest > 0 else 0.0
        found.append(LadderPart(name, value, length))
    return found


def _rows_by_name(results: Results) -> dict[str, Row]:
    rows = {str(row.get("id")): row for row in rows_of(results, "proxies")}
    for method in METHODS:
        rows |= {str(row.get("group")): row for row in rows_of(results, method)}
    return rows


def _group_words(rows: Mapping[str, Row], group: object) -> str:
    return proxy_words(rows.get(str(group), {"group": group}))


def stages_of(results: Results) -> list[Row]:
    return list((results.get("timings") or {}).get("stages") or [])


def flat_settings(settings: Any, prefix: str = "") -> Iterator[tuple[str, str]]:  # Any: settings are nested JSON
    """Nested settings as dotted names, the way ``--set`` takes them."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from flat_settings(value, f"{prefix}.{key}" if prefix else str(key))
    elif settings is not None or prefix:
        yield prefix, settings if isinstance(settings, str) else json.dumps(settings, ensure_ascii=False)
