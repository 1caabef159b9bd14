"""Figures of answers: every row that has a place is drawn, and nothing hides anything else."""

import itertools
import math
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import altair as alt
import pytest
import vl_convert

from overopt.errors import DataError
from overopt.reports.answer_drawings import Drawing, figure_from
from overopt.reports.answer_figures import EXPORT, NARROW, PREVIEW, WIDE, Look, figure_spec
from overopt.reports.answer_pictures import colour_style, page_svg
from overopt.reports.answer_scales import Range, dodged, label, root_ticks, steps_of
from overopt.reports.palette import SCHEMES, cell_colours, kind_colours
from tests.reports.answer_study import KINDS, make_results

Json = dict[str, Any]


def _figures() -> dict[str, Json]:
    return {figure["name"]: figure for question in make_results()["questions"] for figure in question["figures"]}


def _drawing(figure: Json) -> Drawing:
    drawing = Drawing.of(figure_from(figure))
    assert drawing is not None
    return drawing


def _svg(figure: Json, look: Look = EXPORT) -> ElementTree.Element:
    return ElementTree.fromstring(vl_convert.vegalite_to_svg(figure_spec(_drawing(figure), look)))


def _marks(svg: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [element for element in svg.iter() if element.get("aria-roledescription") == kind]


def _texts(svg: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in svg.iter("{http://www.w3.org/2000/svg}text")]


def _plain(**more: Any) -> Json:
    rows = [{"x": x, "y": y, "low": y - 1.0, "high": y + 1.0} for x, y in ((1.0, 2.0), (2.0, 4.0), (3.0, 3.0))]
    return {
        "name": "plain", "title": "Plain", "caption": "", "rows": rows, "marks": ("point",),
        "x": {"field": "x", "title": "x"}, "y": {"field": "y", "title": "y"}, "low": "low", "high": "high",
    } | more  # fmt: skip


@pytest.mark.parametrize("name", list(_figures()))
def test_every_specification_is_valid(name: str) -> None:
    spec = figure_spec(_drawing(_figures()[name]), WIDE)
    del spec["config"]  # legends' layout is Vega's, which the schema of Vega-Lite does not know
    alt.Chart.from_dict(spec, validate=True)


@pytest.mark.parametrize("look", [WIDE, NARROW, PREVIEW, EXPORT], ids=["wide", "narrow", "preview", "export"])
@pytest.mark.parametrize("name", list(_figures()))
def test_a_picture_is_about_as_wide_as_its_place(name: str, look: Look) -> None:
    width = float(_svg(_figures()[name], look).get("width") or 0)
    assert 0.8 * look.width < width < 1.15 * look.width


def test_every_row_with_a_place_is_a_point_that_says_its_numbers() -> None:
    figure = _figures()["size-curves"]
    words = [mark.get("aria-label") or "" for mark in _marks(_svg(figure), "point")]
    places = [row for row in figure["rows"] if row["gold"] is not None]
    assert len(words) == len(places) == len(figure["rows"]) - 1
    row = places[20]
    gold, low, high = (label(float(f"{row[column]:.4g}")) for column in ("gold", "low", "high"))
    wanted = f"gold (sd), relative to the base policy: {gold} [{low}, {high}]"
    assert [wanted in text and f"proxy: {label(row['size'])}" in text for text in words].count(True) == 1


def test_rows_without_a_place_are_counted_and_not_drawn() -> None:
    figure = _plain(x={"field": "x", "title": "x", "scale": "log"})
    figure["rows"] += [{"x": 0.0, "y": 1.0}, {"x": 4.0, "y": None}, {"x": None, "y": None}]
    assert len(_marks(_svg(figure), "point")) == 3
    assert _drawing(figure).notes[0].startswith("3 rows are not drawn")


def test_a_figure_of_unknown_numbers_is_no_drawing() -> None:
    figure = _plain(rows=[{"x": 1.0, "y": None, "low": None, "high": None}])
    assert Drawing.of(figure_from(figure)) is None


def test_a_figure_without_a_column_is_refused() -> None:
    with pytest.raises(DataError, match="no column for x"):
        figure_from(_plain(x={"title": "x"}))
    with pytest.raises(DataError, match="nowhere"):
        figure_from(_plain(y={"field": "nowhere", "title": "y"}))


@pytest.mark.parametrize("scale", ["linear", "log", "sqrt"])
def test_intervals_at_one_x_stand_apart(scale: Any) -> None:
    axis = Range(scale, 0.5, 100.0)
    places = [(x, kind) for x in (1.0, 10.0, 90.0) for kind in "abc"]
    moved = [axis.place(x) * 300 for x in dodged(axis, places, ["a", "b", "c"], 300)]
    gaps = [right - left for left, right in itertools.pairwise(moved)]
    assert min(gaps) >= 6
    for x, middle in zip((1.0, 10.0, 90.0), moved[1::3], strict=True):
        assert middle == pytest.approx(axis.place(x) * 300)


def test_kinds_at_one_x_do_not_hide_each_other_at_any_width() -> None:
    figure = _figures()["mitigation-noise"]
    for look in (WIDE, NARROW):
        rules = [mark for mark in _svg(figure, look).iter() if mark.tag.endswith("line") and mark.get("transform")]
        intervals = [mark for mark in rules if mark.get("stroke") in kind_colours("light", len(KINDS))]
        assert len(intervals) == 3 * len(KINDS)
        places = sorted(float(re.findall(r"[-\d.]+", mark.get("transform") or "")[0]) for mark in intervals)
        assert min(right - left for left, right in itertools.pairwise(places)) > 3


def test_a_line_goes_through_its_moved_points() -> None:
    figure = _plain(marks=("line", "point"), colour={"field": "kind", "title": "kind"})
    figure["rows"] = [row | {"kind": kind} for row in figure["rows"] for kind in ("a", "b")]
    values = figure_spec(_drawing(figure), WIDE)["data"]["values"]
    first, second = ([value["x"] for value in values if value["kind"] == kind] for kind in "ab")
    assert all(left < x < right for left, right, x in zip(first, second, (1, 2, 3), strict=True))


def test_long_names_below_an_axis_are_put_beside_it() -> None:
    spec = figure_spec(_drawing(_figures()["mitigation-kinds"]), NARROW)
    encoding = spec["layer"][-1]["encoding"]
    assert encoding["y"]["field"] == "x"
    assert encoding["x"]["field"] == "y"
    assert "\n" in "".join(encoding["y"]["sort"])
    assert spec["width"] < NARROW.width * 0.7


def test_one_wide_interval_does_not_flatten_the_points_and_is_said_to_go_on() -> None:
    figure = _plain()
    figure["rows"][0] |= {"low": -1_000.0, "high": 1_000.0}
    drawing = _drawing(figure)
    assert isinstance(drawing.y, Range)
    assert drawing.y.high - drawing.y.low < 3 * (4.0 - 2.0)
    assert drawing.notes == ["Intervals that touch the frame go on beyond it."]


def test_panels_share_their_axes_and_wrap() -> None:
    spec = figure_spec(_drawing(_figures()["text-features"]), WIDE)
    assert spec["columns"] == 3
    assert len(spec["facet"]["sort"]) == 5
    assert "resolve" not in spec or "scale" not in spec["resolve"]
    assert figure_spec(_drawing(_figures()["text-features"]), NARROW)["columns"] == 1


def test_ordered_values_take_the_ramp_and_kinds_take_categories() -> None:
    figures = _figures()
    ordered, kinds = _drawing(figures["size-curves"]), _drawing(figures["mitigation-noise"])
    assert ordered.colours("light")[0] == "#14206b"
    assert kinds.colours("light") == kind_colours("light", 8)
    assert len(set(kinds.colours("light"))) == len(set(kinds.colours("dark"))) == 8


def test_the_first_panel_keeps_the_colours_of_all() -> None:
    figure = _plain(
        panel={"field": "p", "title": "p"}, colour={"field": "kind", "title": "kind"}, low=None, high=None,
        rows=[{"x": 1, "y": 2, "p": "one", "kind": "b"}, {"x": 1, "y": 2, "p": "two", "kind": "a"}],
    )  # fmt: skip
    figure["colour"]["values"] = ["a", "b"]
    first = _drawing(figure).first_panel()
    assert len(first.rows) == 1
    assert first.domains["kind"] == ["a", "b"]


def test_every_cell_of_a_heat_map_has_its_number_and_zero_has_no_colour() -> None:
    figure = _figures()["grid-gain"]
    svg = _svg(figure)
    cells = [mark for mark in svg.iter() if "gain:" in (mark.get("aria-label") or "")]
    assert len(cells) == len(figure["rows"])
    assert _texts(svg).count("−0.40") == 1
    zero = next(cell for cell in cells if re.search(r"gain: 0($|\.0+$)", cell.get("aria-label") or ""))
    steps = _drawing(figure).steps
    assert steps is not None
    assert zero.get("fill") == cell_colours("light", steps.n, is_signed=True)[steps.n // 2]


def test_a_cell_of_a_heat_map_may_be_written_on_in_several_lines() -> None:
    rows = [
        {"stage": stage, "place": place, "share": share, "words": f"{k}/8\n{share} [low, high] %", "part": part}
        for part in ("first", "second")
        for k, (stage, place, share) in enumerate([("base", "a", 0.0), ("base", "b", 12.5), ("next", "a", 25.0)])
    ]
    figure = {
        "name": "cells", "title": "Cells", "caption": "", "rows": rows, "marks": ("heat", "text"), "value": "share",
        "written": "words", "x": {"field": "stage", "title": "stage"}, "y": {"field": "place", "title": "place"},
        "panel": {"field": "part", "title": "", "values": ("first", "second")},
    }  # fmt: skip
    for look in (WIDE, NARROW, EXPORT):
        svg = _svg(figure, look)
        texts = [[line.text for line in text] for text in svg.iter("{http://www.w3.org/2000/svg}text")]
        assert sorted(lines for lines in texts if lines) == sorted(str(row["words"]).split("\n") for row in rows)
    plain = {**figure, "written": None}
    assert not any("/8" in text for text in _texts(_svg(plain)))


def test_several_lines_stand_in_the_middle_of_their_cell() -> None:
    row = {"stage": "base", "place": "a", "share": 5.0, "words": "1/8\n5 %\n[0, 9] %"}
    figure = {
        "name": "cell", "title": "Cell", "caption": "", "rows": [row], "marks": ("heat", "text"), "value": "share",
        "written": "words", "x": {"field": "stage", "title": "stage"}, "y": {"field": "place", "title": "place"},
    }  # fmt: skip
    svg = _svg(figure)
    (cell,) = _marks(svg, "rect mark")
    found = re.fullmatch(r"M[\d.]+,([\d.]+)h[\d.]+v([\d.]+)h.*", cell.get("d") or "")
    assert found is not None
    top, height = float(found[1]), float(found[2])
    text = next(text for text in svg.iter("{http://www.w3.org/2000/svg}text") if len(text) == 3)
    size = float((text.get("font-size") or "").removesuffix("px"))
    first = float(re.findall(r"[\d.]+", text.get("transform") or "")[1])
    last = first + sum(float(line.get("dy") or 0) for line in text)
    above, below = first - 0.72 * size - top, top + height - last
    assert above > 0
    assert above == pytest.approx(below, abs=3)


def test_what_is_written_on_a_cell_is_a_column_of_its_rows() -> None:
    with pytest.raises(DataError, match="has no column words"):
        figure_from(_plain(marks=("heat", "text"), value="y", written="words"))


@pytest.mark.parametrize(
    ("values", "signed"),
    [
        ([0.52, 0.77], False),
        ([-0.4, 0.7], True),
        ([1.0, 1.0], False),
        ([1e6, 9e7], False),
        ([0.0], False),
        ([0, 1], False),
    ],
)
def test_steps_of_a_heat_map_are_few_round_and_hold_every_value(values: list[float], signed: bool) -> None:
    steps = steps_of(values)
    assert steps.is_signed == signed
    assert steps.n <= 12
    assert all(0 <= steps.index(value) < steps.n for value in values)
    assert steps.limits == sorted(set(steps.limits))
    if signed:
        assert steps.index(0.0) == steps.n // 2
        assert steps.n % 2 == 1


def test_numbers_on_axes_are_whole_or_short() -> None:
    figure = _plain(x={"field": "x", "title": "n", "scale": "log"})
    figure["rows"] = [{"x": 2.0**k, "y": k / 10, "low": None, "high": None} for k in (0, 5, 10, 16)]
    texts = _texts(_svg(figure))
    assert {"1", "32", "1,024", "65.5k"} <= set(texts)
    assert not [text for text in texts if re.search(r"\.\d*0$", text) and text != "0.0"]


def test_ticks_of_a_root_axis_are_round_and_apart() -> None:
    axis = Range("sqrt", 0.0, 84.0)
    ticks = root_ticks(axis)
    assert ticks[0] == 0
    assert 4 <= len(ticks) <= 8
    assert all(axis.place(right) - axis.place(left) > 0.08 for left, right in itertools.pairwise(ticks))


def test_a_line_of_one_point_is_a_point() -> None:
    figure = _plain(marks=("line",), low=None, high=None, rows=[{"x": 1.0, "y": 2.0}])
    assert len(_marks(_svg(figure), "point")) == 1


def test_every_mark_can_be_drawn_in_one_figure() -> None:
    svg = _svg(_figures()["extrapolation"])
    assert len(_marks(svg, "point")) == 18
    assert len(_marks(svg, "line mark")) == 2
    dashes = {mark.get("stroke-dasharray") for mark in _marks(svg, "line mark")}
    assert len(dashes) == 2
    assert "n 1024" in _texts(svg)
    areas = [element for element in svg.iter() if element.get("opacity") == "0.15"]
    assert len(areas) == 2
    assert len(_marks(_svg(_figures()["mitigation-bars"]), "bar")) == 3 * len(KINDS)


@pytest.mark.parametrize("n", [1, 4, 8])
def test_kinds_have_colours_of_their_own(n: int) -> None:
    for scheme in SCHEMES:
        assert len(set(kind_colours(scheme, n))) == n


@pytest.mark.parametrize("n", [11, 19])
def test_kinds_beyond_the_colours_differ_by_dash_and_shape(n: int) -> None:
    rows = [{"x": x, "y": float(kind + x), "kind": f"kind {kind:02}"} for kind in range(n) for x in (1, 2)]
    colour = {"field": "kind", "title": "kind"}
    svg = _svg(_plain(rows=rows, marks=("line", "point"), colour=colour, low=None, high=None))
    lines, points = _marks(svg, "line mark"), _marks(svg, "point")
    assert len({(line.get("stroke"), line.get("stroke-dasharray")) for line in lines}) == n
    assert len({(point.get("fill"), point.get("d")) for point in points}) == n


def test_a_page_switches_every_colour_of_a_picture() -> None:
    for figure in _figures().values():
        drawing = _drawing(figure)
        svg = page_svg(drawing, "name", "wide")
        literal = set(re.findall(r'(?:fill|stroke|stop-color)="([^"]*)"', svg)) - {"none", "transparent"}
        assert all(value.startswith("var(--f") for value in literal), (figure["name"], literal)
        style = colour_style([drawing])
        used = set(re.findall(r"var\((--f\w+)\)", svg))
        assert used
        for variable in used:
            assert len(re.findall(f"{variable}:#", style)) == 2


def test_clip_paths_of_two_pictures_have_names_of_their_own() -> None:
    drawing = _drawing(_plain(marks=("line",)))
    for name in ("one", "two"):
        svg = page_svg(drawing, name, "wide")
        ids = re.findall(r'id="([^"]*)"', svg)
        assert all(value.startswith(f"{name}-wide-") for value in ids)
        assert set(re.findall(r"url\(#([^)]*)\)", svg)) <= set(ids)


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "]]>&amp;", "a\x00b\x1b\ud800", "'+datum.x+'", "\n\n", ""]
)
def test_names_in_pictures_are_text(text: str) -> None:
    figure = _plain(
        title=text, caption=text, colour={"field": text, "title": text}, panel={"field": text, "title": text},
        x={"field": "where", "title": text}, low=None, high=None,
        rows=[{"where": place, "y": 1.0, text: text} for place in (text, "elsewhere")],
    )  # fmt: skip
    drawing = _drawing(figure)
    ElementTree.fromstring(vl_convert.vegalite_to_svg(figure_spec(drawing, EXPORT)))
    svg = page_svg(drawing, "name", "narrow")
    root = ElementTree.fromstring(svg)
    assert {element.tag for element in root.iter()} <= {
        "svg",
        "g",
        "path",
        "text",
        "tspan",
        "rect",
        "line",
        "defs",
        "clipPath",
    }
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on") or "href" in name]
    if text.isprintable() and text:
        assert text in "".join(root.itertext())


def test_a_value_that_is_not_a_number_is_not_drawn() -> None:
    figure = _plain()
    figure["rows"][0]["y"] = math.nan
    assert len(_marks(_svg(figure), "point")) == 2
