"""The report of questions is whole, asks nothing of a network, and shows model-written text as text."""

import csv
import io
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from overopt.errors import DataError
from overopt.reports.answer_page import write_site
from overopt.reports.page import source_hash
from tests.reports.answer_study import make_results
from tests.reports.test_page import ATTACKS, CHROMIUM, Page

Json = dict[str, Any]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    write_site(make_results(), folder)
    return folder


def _pages(site: Path) -> dict[str, Page]:
    paths = [site / "report.html", *sorted((site / "report").glob("*.html"))]
    return {path.name: Page(path.read_text(encoding="utf-8")) for path in paths}


def _small(**more: Any) -> Json:
    """One question with one small figure, a table and a text."""
    rows = [{"x": 1.0, "y": 2.0, "kind": "a"}, {"x": 2.0, "y": 1.0, "kind": "b"}]
    question = {
        "id": "only", "title": "Only", "question": "Is it so?", "how": "By looking.", "caveats": ["Small."],
        "claims": [make_results()["questions"][0]["claims"][0]],
        "figures": [{
            "name": "plain", "title": "Plain", "caption": "A caption.", "rows": rows, "marks": ["line", "point"],
            "x": {"field": "x", "title": "x"}, "y": {"field": "y", "title": "y"},
            "colour": {"field": "kind", "title": "kind"},
        }],
        "tables": [{"name": "numbers", "title": "Numbers", "columns": {"kind": "Kind", "y": "y"}, "rows": rows}],
        "texts": [{"title": "Ladder", "prompt": "hello", "samples": [
            {"place": "n = 4", "completion": "you too", "numbers": {"KL": 0.6, "gold": None}}]}],
    }  # fmt: skip
    return {"study": "small", "questions": [question | more]}


def _question_page(results: Json, folder: Path) -> str:
    write_site(results, folder)
    return (folder / "report" / "only.html").read_text(encoding="utf-8")


def test_every_figure_and_table_is_exported(site: Path) -> None:
    results = make_results()
    figures = [figure for question in results["questions"] for figure in question["figures"]]
    tables = [table for question in results["questions"] for table in question["tables"]]
    names = sorted(path.name for path in (site / "report" / "figures").iterdir())
    assert names == sorted(f"{figure['name']}.{kind}" for figure in figures for kind in ("svg", "png"))
    written = sorted(path.name for path in (site / "report" / "tables").iterdir())
    assert written == sorted([*(f"{part['name']}.csv" for part in (*figures, *tables)), "claims.csv"])
    for path in (site / "report" / "figures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"<svg")
    for figure in figures:
        text = (site / "report" / "tables" / f"{figure['name']}.csv").read_bytes().decode()
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert len(rows) == len(figure["rows"])
        for found, row in zip(rows, figure["rows"], strict=True):
            for name, value in row.items():
                assert (
                    (float(found[name]) == value)
                    if isinstance(value, float)
                    else found[name] == str(value or 0 * 0 if value is not None else "")
                )


def test_pages_load_nothing_and_link_only_to_what_is_there(site: Path) -> None:
    for path in [site / "report.html", *(site / "report").glob("*.html")]:
        page = Page(path.read_text(encoding="utf-8"))
        for tag, attributes in page.elements:
            assert tag not in ("link", "iframe", "object", "embed", "base", "img", "form", "image", "use")
            assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "xlink:href")]
            target = attributes.get("href")
            if target and not target.startswith("#"):
                assert (path.parent / target).is_file(), (path.name, target)
            elif target:
                assert target[1:] in page.ids()
        assert len(page.ids()) == len(set(page.ids())), path.name
        assert "url(" not in "".join(page.styles)


def test_only_the_script_and_the_style_of_a_page_are_allowed(site: Path) -> None:
    for page in _pages(site).values():
        policy = next(
            attributes["content"] or "" for _, attributes in page.elements
            if attributes.get("http-equiv") == "Content-Security-Policy"
        )  # fmt: skip
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        ((attributes, script),) = page.scripts
        assert not attributes
        assert f"script-src {source_hash(script)};" in policy
        assert f"style-src {source_hash(''.join(page.styles))};" in policy


@pytest.mark.parametrize("attack", [*ATTACKS, "</style><script>alert(4)</script>"], ids=lambda attack: attack[:12])
def test_text_of_models_and_people_stays_text(tmp_path: Path, attack: str) -> None:
    clean = _small()
    _question_page(clean, tmp_path / "clean")
    results = _small(title=attack, question=attack, how=attack, caveats=[attack])
    question = results["questions"][0]
    for claim in question["claims"]:
        claim |= {"sentence": attack, "what": attack, "counted": attack, "unit": attack, "note": attack}
        claim["published"] |= {"finding": attack, "source": attack, "why_not": attack}
    question["figures"][0] |= {"title": attack, "caption": attack}
    for row in question["figures"][0]["rows"]:
        row["kind"] = attack
    question["tables"][0] |= {"title": attack, "note": attack, "columns": {"kind": attack}}
    question["texts"] = [{"title": attack, "prompt": attack, "samples": [
        {"place": attack, "completion": attack, "numbers": {attack: 1.0}}]}]  # fmt: skip
    results |= {
        "study": attack, "preset": attack, "seed": attack, "settings": {attack: attack}, "versions": {attack: attack},
        "base": {"policy": attack}, "timings": {"stages": [{"label": attack, "name": attack, "seconds": 1.0}]},
    }  # fmt: skip
    write_site(results, tmp_path / "attacked")
    for name in ("report.html", "report/only.html"):
        attacked = Page((tmp_path / "attacked" / name).read_text(encoding="utf-8"))
        assert len(attacked.scripts) == 1
        assert "alert(" not in attacked.scripts[0][1]
        assert not [tag for tag, _ in attacked.elements if tag in ("img", "iframe", "object", "embed", "base", "form")]
        assert not [key for _, attributes in attacked.elements for key in attributes if key.startswith("on")]
        text = "".join(attacked.text)
        assert " ".join(text.split()).count(" ".join(attack.split())) >= 10
    for element in ElementTree.parse(tmp_path / "attacked/report/figures/plain.svg").getroot().iter():
        assert element.tag.rpartition("}")[2] in (
            "svg",
            "rect",
            "g",
            "path",
            "text",
            "defs",
            "clipPath",
            "line",
            "tspan",
        )
        assert not [key for key in element.attrib if key.startswith("on")]


def test_the_table_of_claims_holds_every_claim_with_its_agreement(site: Path) -> None:
    html = (site / "report.html").read_text(encoding="utf-8")
    text = " ".join("".join(Page(html).text).split())
    rows = re.findall(r'<tr data-search="[^"]*" data-agreement="(\w+)" data-claim>(.*?)</tr>', html, re.DOTALL)
    claims = [claim for question in make_results()["questions"] for claim in question["claims"]]
    assert [agreement for agreement, _ in rows] == [claim["agreement"] for claim in claims]
    for (agreement, row), claim in zip(rows, claims, strict=True):
        shown = " ".join("".join(Page(row).text).split())
        assert " ".join(claim["sentence"].split()) in shown
        assert agreement.replace("_", " ") in shown
        if claim["published"]:
            assert claim["published"]["finding"] in shown
            assert claim["published"]["source"] in shown
            assert claim["published"]["why_not"] in shown
        else:
            assert "Nothing that we know of." in shown
    for words in ("3 agree", "1 differs", "2 undetermined", "1 not comparable", "2 not published"):
        assert words in text


def test_a_page_of_a_question_holds_all_of_its_answer(site: Path) -> None:
    names = [question["id"] for question in make_results()["questions"]]
    for index, question in enumerate(make_results()["questions"]):
        page = Page((site / "report" / f"{question['id']}.html").read_text(encoding="utf-8"))
        text = " ".join("".join(page.text).split())
        parts = [question["question"], question["how"], *question["caveats"], f"--only {question['id']}"]
        parts += [part for figure in question["figures"] for part in (figure["title"], figure["caption"])]
        parts += [part for ladder in question["texts"] for part in (ladder["title"], ladder["prompt"])]
        parts += [sample["completion"] for ladder in question["texts"] for sample in ladder["samples"]]
        for part in parts:
            assert " ".join(part.split()) in text
        links = {
            attributes.get("rel"): attributes["href"]
            for tag, attributes in page.elements
            if tag == "a" and attributes.get("rel")
        }
        assert links.get("prev") == (f"{names[index - 1]}.html" if index else None)
        assert links.get("next") == (f"{names[index + 1]}.html" if index + 1 < len(names) else None)
        assert len([1 for tag, _ in page.elements if tag == "svg"]) == 2 * len(question["figures"])
        # Long lists of findings are jumped over.
        jumps = [attributes["href"] for tag, attributes in page.elements if attributes.get("href", "").startswith("#")]
        parts = [part for part in ("figures", "tables", "texts") if question[part]]
        assert [jump for jump in jumps if jump != "#found"] == [*(f"#{part}" for part in parts), "#how"]


def test_the_front_page_shows_each_question_once(site: Path) -> None:
    html = (site / "report.html").read_text(encoding="utf-8")
    assert html.count('class="card"') == 6
    assert html.count("<svg") == 5  # one question has no figure
    assert "overopt run gao2022 --preset default" in html
    assert "41 min 51 s" in html
    assert "gao2022.proxy" in html
    assert "rl.learning_rate" in html


def test_a_study_of_nothing_is_a_page_that_says_so(tmp_path: Path) -> None:
    for results in ({}, {"questions": []}, {"questions": None, "timings": None, "settings": None, "base": None}):
        write_site(results, tmp_path)
        html = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert "No questions were answered in this study." in html
        assert "No claims in this study." in html


def test_an_answer_of_nothing_is_a_page(tmp_path: Path) -> None:
    write_site({"questions": [{"id": "only"}]}, tmp_path)
    assert "No claim was computed" in (tmp_path / "report" / "only.html").read_text(encoding="utf-8")


def _without_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_numbers(item) for item in value]
    return None if isinstance(value, int | float) else value


def _without_values(value: Any, kept: tuple[str, ...] = ("id", "name", "field", "marks")) -> Any:
    if isinstance(value, dict):
        return {key: item if key in kept else _without_values(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_values(item) for item in value]
    return None


def test_an_unknown_number_is_a_dash_and_nothing_is_drawn_of_it(tmp_path: Path) -> None:
    html = _question_page(_without_numbers(_small()), tmp_path)
    page = Page(html)
    assert "Nothing to draw" in html
    assert "KL</i> –" in html
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", "".join(page.text))
    assert not list((tmp_path / "report" / "figures").iterdir())
    assert (tmp_path / "report" / "tables" / "plain.csv").exists()


def test_nothing_but_names_is_still_a_report(tmp_path: Path) -> None:
    results = _without_values(make_results() | {"questions": None})
    results["questions"] = _without_values(make_results()["questions"])
    write_site(results, tmp_path)
    for page in _pages(tmp_path).values():
        assert not re.search(r"\bNone\b", "".join(page.text))


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "x" * 200, "claims", "numbers", "Numbers"])
def test_a_name_that_is_no_file_of_its_own_is_refused(tmp_path: Path, name: str) -> None:
    results = _small()
    results["questions"][0]["figures"][0]["name"] = name
    with pytest.raises(DataError, match="figure or table"):
        write_site(results, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_two_questions_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names of a question"):
        write_site({"questions": [{"id": "a"}, {"id": "A"}]}, tmp_path)
    with pytest.raises(DataError, match="list of answers"):
        write_site({"questions": {"a": 1}}, tmp_path)


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_site(_small(), tmp_path / name)
    paths = [path for path in (tmp_path / "one").rglob("*.*") if path.is_file()]
    assert len(paths) == 7
    for path in paths:
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path.name


# Each page in a frame of a phone's width; what is found is written as an attribute, which --dump-dom prints.
_PROBE = """<!doctype html><body>FRAMES<script>
setTimeout(() => {
  document.body.dataset.found = JSON.stringify([...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, root = page.documentElement, view = frame.contentWindow;
    const shown = [...page.querySelectorAll("svg")].filter((svg) => view.getComputedStyle(svg).display !== "none");
    const scrolls = (element) => element.closest(".scroll, pre, blockquote");
    const out = [...page.querySelectorAll("main *")].filter(
      (element) => element.getBoundingClientRect().right > root.clientWidth + 1 && !scrolls(element)
        && !element.closest("svg"));
    const small = shown.filter((svg) => svg.closest(".plot")).flatMap((svg) => {
      const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
      return [...svg.querySelectorAll("text")].map((text) => parseFloat(text.getAttribute("font-size")) * scale);
    });
    const box = page.getElementById("box");
    let claims = null;
    if (box) {
      box.value = "ENSEMBLES  coste";
      box.dispatchEvent(new Event("input"));
      claims = page.querySelectorAll("tr[data-claim]:not([hidden])").length;
    }
    return {
      name: frame.getAttribute("src"), wide: root.scrollWidth - root.clientWidth,
      out: out.map((element) => element.outerHTML.slice(0, 80)),
      pictures: shown.length, small: Math.min(99, ...small) < 8.5, claims,
    };
  }));
}, 1500);
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize(("width", "scheme"), [(360, 0), (1100, 1)])
def test_pages_fit_a_phone_and_a_desk(tmp_path: Path, width: int, scheme: int) -> None:
    """No sideways scrolling, one picture of each figure in letters one can read, a search that works, no errors."""
    assert CHROMIUM is not None
    results = make_results()
    for sample, attack in zip(results["questions"][3]["texts"][0]["samples"], ATTACKS, strict=False):
        sample["completion"] = attack
    write_site(results, tmp_path)
    shutil.rmtree(tmp_path / "report" / "figures")
    names = ["report.html", *(f"report/{question['id']}.html" for question in results["questions"])]
    frames = "".join(f'<iframe src="{name}" style="width:{width}px;height:900px;border:0"></iframe>' for name in names)
    (tmp_path / "probe.html").write_text(_PROBE.replace("FRAMES", frames))
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,2100",
         f"--blink-settings=preferredColorScheme={scheme}", "--enable-logging=stderr", "--virtual-time-budget=5000",
         "--dump-dom", (tmp_path / "probe.html").as_uri()],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found is not None, done.stderr[-2000:]
    seen = json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    pictures = [5, *(len(question["figures"]) for question in results["questions"])]
    wanted = [
        {
            "name": name,
            "wide": 0,
            "out": [],
            "pictures": n,
            "small": False,
            "claims": 1 if name == "report.html" else None,
        }
        for name, n in zip(names, pictures, strict=True)
    ]
    assert seen == wanted
