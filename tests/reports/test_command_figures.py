"""The pictures of the commands compile whatever the data, hold the marks they must, and pages need no network."""

import copy
import itertools
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from overopt.errors import ConfigError, StorageError
from overopt.reports import palette
from overopt.reports.command_answers import Answer, Heading
from overopt.reports.command_figures import bon_figure, fit_figure
from overopt.reports.command_marks import Ground
from overopt.reports.command_run_figures import diagnose_figure, eval_rm_figure
from overopt.reports.command_writer import check_plot_path, render_page, write_figure
from overopt.stats.laws import law_value, peak

Json = dict[str, Any]
EVIL = '</script><b>"quoted" & \\ named</b>'


def _fit(group: str | None, law: str = "bon", alpha: float = 0.6, beta: float = 0.2) -> Json:
    turn = peak(law, alpha, beta)  # type: ignore[arg-type]
    return {
        "group": group, "law": law, "alpha": alpha, "beta": beta, "alpha_ci": [0.5, 0.7], "beta_ci": [0.1, 0.3],
        "r2": 0.98, "points": 9, "d_range": [0.4, 2.4], "status": "ok", "intervals": "units",
        "peak": {"d": turn.d, "kl": turn.d**2, "gold": turn.gold, "inside_data": turn.d < 2.4, "d_ci": [1.2, None]},
    }  # fmt: skip


def _bon(ns: list[int]) -> Json:
    curve = []
    for n in ns:
        kl = math.log(n) - (n - 1) / n
        gain = float(law_value("bon", math.sqrt(kl), 0.6, 0.2))
        curve.append(
            {"n": n, "kl": kl, "kl_bound": kl, "proxy": 3 * kl, "gold": 5 + gain, "gold_se": 0.1,
             "gold_ci": [4.8 + gain, 5.2 + gain], "gain": gain, "gain_se": 0.02, "gain_ci": [gain - 0.04, gain + 0.05],
             "oracle": 5 + 0.4 * math.sqrt(kl)}
        )  # fmt: skip
    return {"level": 0.95, "curve": curve, "fit": _fit(None), "verdict": "overoptimized"}


def _fits(names: list[str | None]) -> tuple[Json, list[Json]]:
    points = [
        {"group": name, "d": 0.2 * k, "gold": float(law_value("bon", 0.2 * k, 0.6, 0.2))}
        for name in names
        for k in range(12)
    ]
    return {"groups": [_fit(name) for name in names], "shared": None}, points


def _runs(names: list[str | None]) -> tuple[Json, list[Json]]:
    points = [
        {"group": name, "step": 10 * k, "gold": math.sin(k / 5 + i), "proxy": 0.1 * k + i}
        for i, name in enumerate(names)
        for k in range(12)
    ]
    groups = [
        {"group": name, "verdict": "overoptimized", "gold_peak": {"step": 80, "gold": 1.0, "proxy": 0.8 + i},
         "gold_final": 0.8, "proxy_final": 1.1 + i, "drop": 0.2, "threshold": 0.05}
        for i, name in enumerate(names)
    ]  # fmt: skip
    return {"groups": groups}, points


def _accuracies(by: dict[str, float | None]) -> Json:
    return {
        "accuracy": 0.7, "accuracy_ci": [0.65, 0.75], "pairs": 1200,
        "by": {name: {"pairs": 100, "accuracy": value, "ci": [None if value is None else value - 0.05,
               None if value is None else value + 0.05], "ties": 0} for name, value in by.items()},
    }  # fmt: skip


def _without_numbers(value: object) -> Any:
    """The same object as far as strings, names and steps go, every other number unknown."""
    if isinstance(value, dict):
        return {key: part if key in ("n", "pairs") else _without_numbers(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_numbers(part) for part in value]
    return value if isinstance(value, str | bool) else None


def _lines(spec: Json) -> str:
    return " ".join(spec["title"]["subtitle"])


def _svg(spec: Json) -> ElementTree.Element:
    return ElementTree.fromstring(vl_convert.vegalite_to_svg(spec))


def _marks(spec: Json, kind: str) -> int:
    return sum(element.get("aria-roledescription") == kind for element in _svg(spec).iter())


def _texts(spec: Json) -> list[str]:
    return ["".join(element.itertext()) for element in _svg(spec).iter() if element.tag.endswith("}text")]


def _rows(spec: Json) -> list[Json]:
    return [row for rows in spec["datasets"].values() for row in rows]


NS = [2**k for k in range(11)]
TWELVE: list[str | None] = [f"seed {i} of a run" for i in range(12)]
NORMAL: dict[str, Callable[[], Json]] = {
    "bon": lambda: bon_figure(_bon(NS)),
    "fit": lambda: fit_figure(*_fits(["a", "b"])),
    "fit of one": lambda: fit_figure(*_fits([None])),
    "diagnose": lambda: diagnose_figure(*_runs(["a", "b"])),
    "diagnose one": lambda: diagnose_figure(*_runs([None])),
    "eval-rm": lambda: eval_rm_figure(_accuracies({"chat": 0.8, "code": 0.4})),
}
BARE: dict[str, Callable[[], Json]] = {
    "bon, unknown": lambda: bon_figure(_without_numbers(_bon(NS))),
    "bon, empty": lambda: bon_figure({}),
    "bon, n = 1 alone": lambda: bon_figure(_bon([1])),
    "bon, no gold": lambda: bon_figure({"curve": [{"n": 2, "kl": 0.2, "proxy": 1.0}]}),
    "bon, one point": lambda: bon_figure(_bon([4])),
    "fit, unknown": lambda: fit_figure(*_without_numbers(_fits(["a", "b"]))),
    "fit, nothing": lambda: fit_figure({"groups": []}, []),
    "fit, one point": lambda: fit_figure({"groups": []}, [{"group": None, "d": 0.0, "gold": 0.0}]),
    "diagnose, unknown": lambda: diagnose_figure(*_without_numbers(_runs(["a", "b"]))),
    "diagnose, nothing": lambda: diagnose_figure({"groups": []}, []),
    "diagnose, one point": lambda: diagnose_figure(
        _runs([None])[0], [{"group": None, "step": 80, "gold": 1.0, "proxy": None}]
    ),
    "eval-rm, unknown": lambda: eval_rm_figure(_without_numbers(_accuracies({"a": 0.3, "b": None}))),
    "eval-rm, no categories": lambda: eval_rm_figure(_accuracies({}) | {"by": None}),
}


@pytest.mark.parametrize("name", NORMAL)
def test_a_figure_has_a_white_ground_a_title_and_points(name: str) -> None:
    spec = NORMAL[name]()
    assert spec["background"] == "white"
    assert spec["title"]["text"] in _texts(spec)
    assert _marks(spec, "point") >= 3


@pytest.mark.parametrize("name", BARE)
def test_unknown_numbers_and_lone_points_still_make_a_picture(name: str) -> None:
    spec = BARE[name]()
    size = [float(side) for side in (_svg(spec).get("width") or "", _svg(spec).get("height") or "")]
    assert 300 < size[0] < 900
    assert 80 < size[1] < 900
    assert not any("NaN" in text or "undefined" in text or "null" in text or text == "zero" for text in _texts(spec))


def test_unknown_numbers_are_left_out_not_drawn_as_zero() -> None:
    report = _bon(NS)
    report["curve"][3] |= {"gain": None, "oracle": None}
    report["curve"][4]["gain_ci"] = [None, None]
    report["curve"][5]["proxy"] = None
    rows = _rows(bon_figure(report))
    assert "32" not in {row["n"] for row in rows if "Proxy" in row}
    found = [row for row in rows if row.get("series") == "gold" and "n" in row]
    assert "8" not in {row["n"] for row in found}
    assert {row["n"] for row in found if "low" in row and row["low"] is not None} == {
        "1", "2", "4", "32", "64", "128", "256", "512", "1,024",
    }  # fmt: skip


def test_best_of_n_starts_at_n_1_even_where_that_is_not_a_point() -> None:
    spec = bon_figure(_bon(NS[2:]))
    rows = _rows(spec)
    gold = {row["n"]: (row["d"], row["low"], row["value"], row["high"]) for row in rows if "Gain" in row}
    assert gold["1"] == (0, 0, 0, 0)
    assert list(gold) == ["1", "4", "8", "16", "32", "64", "128", "256", "512", "1,024"]
    # The proxy at n = 1 is not known, and no zero is put in its place.
    proxy = [row for row in rows if "Proxy" in row]
    assert proxy[0]["n"] == "4"
    assert "proxy" in _texts(spec)
    assert "proxy over n = 1" in _texts(bon_figure(_bon(NS)))


def test_best_of_n_draws_gains_over_n_1() -> None:
    rows = _rows(bon_figure(_bon(NS[1:])))
    oracle = [row for row in rows if str(row.get("series")).startswith("best possible")]
    assert [row["value"] for row in oracle] == [pytest.approx(0.4 * row["d"], abs=1e-6) for row in oracle]
    assert len(oracle) == len(NS) - 1
    law = [row for row in rows if row.get("series") == "fitted law of gold"]
    assert [row["value"] for row in law] == [pytest.approx(row["d"] * (0.6 - 0.2 * row["d"]), abs=1e-5) for row in law]
    assert max(row["d"] for row in law) == pytest.approx(math.sqrt(math.log(1024) - 1023 / 1024), rel=1e-6)


def test_best_of_n_puts_points_in_order_of_distance() -> None:
    shuffled = _bon(NS)
    shuffled["curve"].reverse()
    assert bon_figure(shuffled) == bon_figure(_bon(NS))


def test_the_proxy_has_a_panel_and_units_of_its_own() -> None:
    report = _bon(NS)
    for point in report["curve"]:
        point["proxy"] = 1e6 + 1e5 * point["n"]
    spec = bon_figure(report)
    proxy, gold = spec["vconcat"]
    assert gold == bon_figure(_bon(NS))["vconcat"][1]
    assert proxy["height"] < gold["height"]
    values = {row["n"]: row["value"] for row in _rows(spec) if "Proxy" in row}
    assert (values["1"], values["1,024"]) == (0, pytest.approx(1023e5))
    for point in report["curve"]:
        point["proxy"] = None
    assert len(bon_figure(report)["vconcat"]) == 1


def test_labels_of_n_keep_apart_and_the_last_one_stays() -> None:
    spec = bon_figure(_bon([1, *range(2, 200), 50_000]))
    labels = sorted((row["d"], row["text"]) for row in _rows(spec) if "text" in row)
    assert labels[-1][1] == "50,000"
    assert labels[0][1].startswith("n = ")
    far = labels[-1][0]
    for (left, first), (right, second) in itertools.pairwise(labels):
        assert 640 * (right - left) / far > 3 * (len(first.removeprefix("n = ")) + len(second))


@pytest.mark.parametrize(
    ("inside", "status", "is_marked"),
    [(True, "ok", True), (False, "ok", False), (True, "poor_fit", False), (True, "unidentified", False)],
)
def test_a_peak_is_marked_only_inside_the_data_and_of_a_law_to_believe_in(
    inside: bool, status: str, is_marked: bool
) -> None:
    report, (fits, points) = _bon(NS), _fits(["a"])
    for fit in (report["fit"], fits["groups"][0]):
        fit["peak"]["inside_data"] = inside
        fit["status"] = status
    spec = bon_figure(report)
    assert ("Vertical line: peak" in _lines(spec)) is is_marked
    assert any(set(row) == {"d"} for row in _rows(spec)) is is_marked
    assert any("Peak" in row for row in _rows(fit_figure(fits, points))) is is_marked
    assert ("crosses" in _lines(fit_figure(fits, points))) is is_marked


def _gold_domain(spec: Json) -> list[float]:
    layers = [layer for layer in spec["vconcat"][1]["layer"][1:] if "y" in layer["encoding"]]
    return list(layers[0]["encoding"]["y"]["scale"]["domain"])


@pytest.mark.parametrize(("slope", "is_drawn"), [(0.2, True), (0.4, True), (100, False)])
def test_the_best_possible_gain_never_sets_the_scale_of_gold(slope: float, is_drawn: bool) -> None:
    report = _bon(NS)
    for point in report["curve"]:
        point["oracle"] = 5 + slope * math.sqrt(point["kl"])
    spec = bon_figure(report)
    assert _gold_domain(spec) == _gold_domain(bon_figure(_bon(NS)))
    assert ("above the picture" in _lines(spec)) is (slope > 0.2)
    assert any(str(row.get("series")).startswith("best possible") for row in _rows(spec)) is is_drawn


@pytest.mark.parametrize("status", ["ok", "poor_fit", "unidentified", "too_few_points"])
def test_captions_fit_the_width_whatever_became_of_the_fit(status: str) -> None:
    report, (fits, points) = _bon(NS), _fits([None])
    for point in report["curve"]:
        point["oracle"] = 5 + 12_345 * math.sqrt(point["kl"])
    for fit in (report["fit"], fits["groups"][0]):
        fit["status"] = status
        fit["peak"] |= {"d": 123.456, "d_ci": [101.2, 12_345.6], "inside_data": True}
    for spec in (bon_figure(report), fit_figure(fits, points)):
        assert not any("…" in text for text in _texts(spec))


def test_twelve_groups_have_a_colour_each_and_a_legend_within_the_width() -> None:
    for spec in (fit_figure(*_fits(TWELVE)), diagnose_figure(*_runs(TWELVE))):
        assert float(_svg(spec).get("width") or "inf") < 760
        for name in TWELVE:
            assert any(text.startswith(str(name)) for text in _texts(spec))
        colours = set(re.findall(r'"range": (\[[^\]]*#[^\]]*\])', json.dumps(spec)))
        assert len(set(json.loads(next(found for found in colours if found.count("#") == 12)))) == 12


def test_laws_are_drawn_over_their_own_group_only() -> None:
    report, points = _fits(["short", "long"])
    points = [point for point in points if point["group"] == "long" or point["d"] < 1]
    rows = [row for row in _rows(fit_figure(report, points)) if "Gold" not in row and "group" in row]
    short = [row["d"] for row in rows if row["group"].startswith("short") and "Peak" not in row]
    assert max(short) == pytest.approx(0.8)


def test_the_shared_alpha_is_named() -> None:
    report, points = _fits(["a", "b"])
    report["shared"] = {"alpha": 0.612, "r2": 0.9, "tenable": False, "p_value": 0.0001}
    assert any("0.612" in text for text in _texts(fit_figure(report, points)))
    assert "one alpha is not tenable (p below 0.001)" in _lines(fit_figure(report, points))


def test_the_best_point_seen_is_ringed_apart_from_the_peak_of_the_law() -> None:
    report, points = _fits(["a"])
    points[9]["gold"] = 2.0
    ring = [row for row in _rows(fit_figure(report, points)) if row.get("value") == 2.0]
    assert [row["d"] for row in ring] == [1.8, 1.8]  # the point and its ring
    (peak,) = [row for row in _rows(fit_figure(report, points)) if "Peak" in row]
    assert peak["d"] == pytest.approx(1.5)


def test_standard_errors_are_bars_where_they_are_known() -> None:
    report, points = _fits(["a"])
    assert not any("low" in row for row in _rows(fit_figure(report, points)))
    for index, point in enumerate(points):
        point["gold_se"] = 0.1 if index else None
    bars = [row for row in _rows(fit_figure(report, points)) if "low" in row]
    assert len(bars) == len(points) - 1
    assert all(row["high"] - row["low"] == pytest.approx(0.2) for row in bars)
    assert "bars: ± one standard error" in _lines(fit_figure(report, points))


def test_a_legend_of_few_groups_has_their_coefficients_and_a_page_leaves_them_to_its_table() -> None:
    report, points = _fits(["a", "b"])
    report["groups"][1]["status"] = "unidentified"
    texts = _texts(fit_figure(report, points))
    assert "a: α 0.600 [0.500, 0.700], β 0.200 [0.100, 0.300], peak d 1.50 [1.200, –]" in texts
    assert "b: α 0.600 [0.500, 0.700], β 0.200 [0.100, 0.300], unidentified" in texts
    assert not any("…" in text for text in texts)
    assert {"a", "b"} <= set(_texts(fit_figure(report, points, Ground(is_page=True))))


def test_a_verdict_has_one_name_everywhere() -> None:
    report = _bon(NS) | {"verdict": "not_overoptimized"}
    assert bon_figure(report)["title"]["text"] == "Best-of-n: not overoptimized"
    runs, points = _runs([None])
    assert diagnose_figure(runs, points)["title"]["text"] == "Overoptimized"


def test_the_distance_has_a_unit_that_can_be_read() -> None:
    for spec in (NORMAL["bon"](), NORMAL["fit"]()):
        assert "distance d = √KL (√nats)" in _texts(spec)


def test_diagnose_rings_the_peak_in_both_panels() -> None:
    spec = diagnose_figure(*_runs([None]))
    assert len(spec["vconcat"]) == 2
    peaks = [(row["step"], row["value"]) for row in _rows(spec) if row["step"] == 80]
    assert (80, 1.0) in peaks
    assert (80, pytest.approx(0.8)) in peaks


def test_categories_stand_best_first_with_unknown_last() -> None:
    spec = eval_rm_figure(_accuracies({"unknown": None, "low": 0.3, "high": 0.9, "all pairs": 0.5}))
    texts = _texts(spec)
    order = [text for text in texts if text in ("unknown", "low", "high", "all pairs")]
    assert order == ["all pairs", "high", "all pairs", "low", "unknown"]
    assert any(text.startswith("–") for text in texts)


@pytest.mark.parametrize(
    "make",
    [
        lambda name: fit_figure(*_fits([name])),
        lambda name: fit_figure(*_fits([name, "b"])),
        lambda name: diagnose_figure(*_runs([name])),
        lambda name: diagnose_figure(*_runs([name, "b"])),
        lambda name: eval_rm_figure(_accuracies({name: 0.6})),
    ],
)
def test_names_are_shown_as_they_are_and_cannot_end_the_script(make: Callable[[str], Json], tmp_path: Path) -> None:
    spec = make(EVIL)
    assert any(EVIL in text or EVIL[:12] in text for text in _texts(spec))
    page = render_page(lambda ground: spec | {"usermeta": {"captions": [EVIL]}}, _answer(EVIL), source=EVIL)
    assert EVIL[:12] not in page.split("<body>")[1].split('<script type="application/json"')[0].replace("</script>", "")
    assert page.count("&lt;/script&gt;&lt;b&gt;") >= 8
    assert page.split("<title>")[1].split("</title>")[0].count("<") == 0
    assert _specs(page)["dark"]["datasets"] == spec["datasets"]


def _answer(name: str = "a") -> Answer:
    return Answer(
        title=name, verdict="overoptimized", lead=f"{name}: lead", headings=[Heading(name, is_text=True), Heading("α")],
        rows=[[(name,), ("0.5", "[0.4, 0.6]")], [(f"{name}2",), ("–",)]], sentences=[f"{name} said"], notes=[name],
    )  # fmt: skip


def _page(tmp_path: Path, **options: str) -> str:
    path = tmp_path / "figure.html"
    write_figure(lambda ground: bon_figure(_bon(NS), ground), _answer("Best-of-n"), path, **options)
    return path.read_text()


def _specs(page: str) -> Json:
    found: Json = json.loads(page.split('id="specs">')[1].split("</script>")[0])
    return found


def test_a_page_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = _page(tmp_path)
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page)
    assert not re.search(r"""\b(import|from)\s*\(?["']https?:""", page)
    assert "editor: false" in page
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]


def test_a_page_says_what_was_asked_of_which_file_and_holds_the_numbers(tmp_path: Path) -> None:
    page = _page(tmp_path, source="scores.csv", command="overopt bon scores.csv --plot 'a b.html'")
    assert page.count("<title>") == 1
    assert "<title>Best-of-n in scores.csv</title>" in page
    assert "<h1>Best-of-n in scores.csv</h1>" in page
    assert '<p class="answer bad">Best-of-n: lead.</p>' in page
    assert "overopt bon scores.csv --plot &#39;a b.html&#39;" in page
    assert '<td class="num">0.5 <span class="ci">[0.4, 0.6]</span></td>' in page
    assert '<td class="num">–</td>' in page
    assert "<li>Best-of-n said</li>" in page


def test_the_chart_of_a_page_has_both_colour_schemes_and_no_title_of_its_own(tmp_path: Path) -> None:
    specs = _specs(_page(tmp_path))
    assert set(specs) == {"light", "dark"}
    for spec in specs.values():
        assert "title" not in spec
        assert spec["config"]["background"] == "transparent"
    assert specs["light"]["datasets"] == specs["dark"]["datasets"]
    assert specs["light"]["config"]["axis"] != specs["dark"]["config"]["axis"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda ground: bon_figure(_bon(NS), ground),
        lambda ground: fit_figure(*_fits(["a", "b"]), ground),
        lambda ground: diagnose_figure(*_runs(["a", "b"]), ground),
        lambda ground: eval_rm_figure(_accuracies({"a": 0.6}), ground),
    ],
    ids=["bon", "fit", "diagnose", "eval-rm"],
)
def test_nothing_of_the_light_ground_is_left_on_the_dark_one(draw: Callable[[Ground], Json]) -> None:
    spec = json.dumps(draw(Ground("dark", is_page=True)))
    # The muted ink of the light ground is the axis of the dark one.
    assert palette.INK["light"] not in spec
    assert palette.GRID["light"] not in spec
    assert not any(colour in spec for colour in palette.CATEGORIES["light"])


def test_a_page_promises_to_give_every_view_its_width() -> None:
    for spec in (NORMAL["bon"](), NORMAL["fit"](), NORMAL["diagnose"](), NORMAL["eval-rm"]()):
        views = spec.get("vconcat", [spec])
        assert all(isinstance(view["width"], int) for view in views)


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<svg"), ("a.PNG", b"\x89PNG"), ("a.html", b"<!DOCTYPE html>")])
def test_the_suffix_decides_the_format_and_nothing_else_is_left(tmp_path: Path, name: str, start: bytes) -> None:
    report = _accuracies({"chat": 0.8})
    before = copy.deepcopy(report)
    write_figure(lambda ground: eval_rm_figure(report, ground), _answer(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert report == before


@pytest.mark.parametrize("name", ["a.pdf", "a", "html", "a.svg.gz"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"--plot must end in \.html, \.svg or \.png; got "):
        write_figure(lambda ground: {}, _answer(), tmp_path / name)
    with pytest.raises(ConfigError):
        check_plot_path(Path(name))


def test_a_folder_that_is_absent_or_a_folder_as_file_is_refused(tmp_path: Path) -> None:
    check_plot_path(tmp_path / "a.svg")
    check_plot_path(Path("a.svg"))
    with pytest.raises(StorageError, match="absent"):
        check_plot_path(tmp_path / "absent" / "a.svg")
    (tmp_path / "b.svg").mkdir()
    with pytest.raises(StorageError, match="folder"):
        check_plot_path(tmp_path / "b.svg")
