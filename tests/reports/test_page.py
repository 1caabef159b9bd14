"""The page is whole, asks nothing of a network, and shows model-written text as text."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from overopt.reports.figures import figures
from overopt.reports.page import render, write_report

Json = dict[str, Any]

ATTACKS = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "<!-- <script>",
    "\"'><img src=x onerror=alert(3)>",
    "{{ 7 * 7 }} {% raw %}",
    "line\u2028separator\u2029and 👩‍👩‍👧 emoji",
    "a" * 3_000,
)


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, scripts and the text of each table cell."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.number_cells: list[str] = []
        self.text: list[str] = []
        self._inside: list[str] = []
        self._in_number = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        self._inside.append(tag)
        if tag == "script":
            self.scripts.append((attributes, ""))
        if tag in ("td", "th"):
            self._in_number = tag == "td" and "num" in (attributes.get("class") or "").split()
            if self._in_number:
                self.number_cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_number = False
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag = self._inside[-1] if self._inside else ""
        if tag == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif tag == "style":
            self.styles.append(data)
        else:
            self.text.append(data)
            if self._in_number:
                self.number_cells[-1] += data

    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.elements if "id" in attributes]


@pytest.fixture(scope="module")
def page(whole_study: Json) -> Page:
    return Page(render(whole_study))


def _attacked(results: Json, attack: str) -> Json:
    results["study"] = attack
    results["settings"] = {attack: {"key": attack}}
    results["versions"][attack] = attack
    results["base"]["policy"] = attack
    results["timings"]["stages"][0]["label"] = attack
    for entry in results["ladder"]:
        entry["prompt"] = entry["prompt_id"] = entry["group"] = attack
        for row in entry["rows"]:
            row["completion"] = attack
            row["parts"] = {attack: 1.0}
    for method in ("bon", "rl"):
        for row in results[method]:
            row["group"] = attack
            row["verdict"] = attack
            row["fit"]["status"] = attack
    for row in results["proxies"]:
        row["id"] = attack
    return results


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack[:12])
def test_text_of_models_and_people_stays_text(small_results: Json, page: Page, attack: str) -> None:
    attacked = Page(render(_attacked(small_results, attack)))
    assert len(attacked.scripts) == len(figures(small_results)) + 3
    for attributes, text in attacked.scripts:
        assert "src" not in attributes
        if attributes.get("type") != "application/json":
            assert "alert(" not in text.replace("window.alert(", "")
        else:
            json.loads(text)
    assert not [tag for tag, _ in attacked.elements if tag in ("img", "iframe", "object", "embed", "base", "form")]
    assert not [name for _, attributes in attacked.elements for name in attributes if name.startswith("on")]
    assert len(attacked.elements) < len(page.elements)
    assert "".join(attacked.text).count(attack) >= 30


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "poster", "data", "srcset", "xlink:href", "background"):
            value = attributes.get(name)
            assert value is None or value.startswith("#"), (tag, name, value)
        assert tag not in ("link", "iframe", "object", "embed", "base")
    styles = " ".join(page.styles)
    assert "@import" not in styles
    assert "url(" not in styles


def test_the_policy_lets_the_two_scripts_of_the_page_run_and_no_other(page: Page) -> None:
    policy = next(
        attributes["content"] for _, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )  # fmt: skip
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    programs = [text for attributes, text in page.scripts if not attributes]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in programs]
    assert len(programs) == 2
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert "'unsafe-inline'" not in policy.split("style-src")[0]


def test_every_figure_has_a_specification_a_heading_and_a_caption(page: Page, whole_study: Json) -> None:
    found = figures(whole_study)
    specs = [json.loads(text) for attributes, text in page.scripts if attributes.get("class") == "spec"]
    assert found
    assert len(specs) == len(found)
    for figure in found:
        assert figure.spec() in specs
        assert page.ids().count(figure.name) == 1
        assert figure.caption in "".join(page.text)


def test_headings_links_and_language(page: Page) -> None:
    assert ("html", {"lang": "en"}) in page.elements
    assert sum(tag == "h1" for tag, _ in page.elements) == 1
    ids = page.ids()
    assert len(ids) == len(set(ids))
    links = [attributes["href"] or "" for tag, attributes in page.elements if tag == "a"]
    assert len(links) >= 8
    assert all(link[1:] in ids for link in links)


def test_findings_come_first_and_follow_the_verdicts(results: Json) -> None:
    html = render(results)
    assert html.index('id="findings"') < html.index('id="best-of-n"') < html.index('id="rl"') < html.index('id="laws"')
    before = html.count('class="badge overoptimized"')
    assert before == sum(row["verdict"] == "overoptimized" for row in results["bon"] + results["rl"])
    fallen = next(row for row in results["bon"] if row["verdict"] == "overoptimized")
    fallen["verdict"] = "not_overoptimized"
    assert render(results).count('class="badge overoptimized"') == before - 1


def test_an_extrapolated_peak_is_flagged(results: Json) -> None:
    outside = sum(not row["fit"]["peak"]["inside_data"] for row in results["bon"])
    assert outside > 0
    for row in results["bon"]:
        row["per_seed"] = []
    assert render(results).count("outside: extrapolated") == outside


def _without_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_numbers(item) for item in value]
    return None if isinstance(value, int | float) else value


def test_an_unknown_number_is_a_dash_and_never_0(results: Json) -> None:
    page = Page(render(_without_numbers(results)))
    assert len(page.number_cells) > 200
    assert {re.sub(r"[\[\], ±n=step%()]", "", cell.replace("\xa0", "")) for cell in page.number_cells} <= {"–", "––"}
    facts = "".join(page.text)
    facts = facts[facts.index("Base policy") : facts.index("Time and memory")]
    assert not re.search(r"\b0\b|0\.0", facts)


PARTS = ("rl", "bon", "proxies", "trends", "ladder", "settings", "versions", "timings", "base", "data")


@pytest.mark.parametrize("missing", PARTS)
def test_a_missing_part_leaves_the_rest(small_results: Json, missing: str) -> None:
    html = render(small_results | {missing: None})
    assert html.endswith("</html>\n")
    assert 'id="glossary"' in html


def test_a_study_of_nothing_is_a_page_that_says_so(results: Json) -> None:
    for html in (
        render({"schema": results["schema"]}),
        render(results | {part: type(results[part])() for part in PARTS}),
    ):
        assert "No best-of-n groups in this study." in html
        assert "No RL runs in this study." in html


def test_curves_without_points_and_fits_without_peaks_are_shown(results: Json) -> None:
    results["bon"][0] |= {"curve": [], "fit": None, "drop": None, "verdict": None}
    results["bon"][1]["curve"] = results["bon"][1]["curve"][:1]
    results["bon"][2]["fit"]["peak"] = None
    results["rl"][0]["fit"]["peak"]["d_ci"] = [1.0, None]
    html = render(results)
    assert "no verdict" in html
    assert "[1.00, –]" in html


def test_the_page_replaces_an_older_one_whole(
    small_results: Json, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def fails(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails)
        with pytest.raises(OSError, match="disk full"):
            write_report(small_results, path)
    assert path.read_text() == "old"
    write_report(small_results, path)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_the_page_says_the_same_each_time(small_results: Json) -> None:
    assert render(small_results) == render(small_results)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# Reads the page in a frame of a phone's width and writes what it finds as an attribute, which --dump-dom prints.
_PROBE = """<!doctype html>
<body><iframe src="report.html" style="width:WIDTHpx;height:2000px;border:0"></iframe><script>
setTimeout(() => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const cut = [...page.querySelectorAll("svg.marks")].filter((svg) => {
    const box = svg.querySelector("g").getBBox();
    return box.x + box.width > svg.viewBox.baseVal.width + 1 || box.y + box.height > svg.viewBox.baseVal.height + 1;
  }).map((svg) => svg.closest("figure").id);
  document.body.dataset.found = JSON.stringify({
    specs: page.querySelectorAll("script.spec").length, charts: page.querySelectorAll("figure svg.marks").length,
    images: page.querySelectorAll("img").length, cut, wide: root.scrollWidth - root.clientWidth,
  });
}, 7000);
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize(("width", "scheme"), [(400, 0), (1280, 1)])
def test_a_browser_draws_every_figure_without_an_error(results: Json, tmp_path: Path, width: int, scheme: int) -> None:
    """On a phone in dark and on a desk in light: all figures drawn, no legend cut, no sideways scrolling."""
    assert CHROMIUM is not None
    for entry, attack in zip(results["ladder"], ATTACKS, strict=False):
        entry["rows"][0]["completion"] = entry["prompt"] = attack
    write_report(results, tmp_path / "report.html")
    (tmp_path / "probe.html").write_text(_PROBE.replace("WIDTH", str(width)))
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,2100",
         f"--blink-settings=preferredColorScheme={scheme}", "--enable-logging=stderr", "--virtual-time-budget=12000",
         "--dump-dom", (tmp_path / "probe.html").as_uri()],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found is not None, done.stderr[-2000:]
    seen = json.loads(found[1].replace("&quot;", '"'))
    n_figures = len(figures(results))
    assert seen == {"specs": n_figures, "charts": n_figures, "images": 0, "cut": [], "wide": 0}
