"""Every figure compiles, holds the marks it must, and draws the law that was fitted."""

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from overopt.errors import ConfigError
from overopt.reports.charts import Figure
from overopt.reports.curve_figures import frontier_figures, score_figures
from overopt.reports.figures import figures, static_figures, static_spec
from overopt.reports.palette import SCHEMES, chart_config, size_colours
from overopt.reports.step_figures import step_figures

Json = dict[str, Any]


def _named(results: Json, name: str) -> Figure:
    """One figure, made alone because making all takes a second."""
    found: list[Figure] = []
    if name.endswith("pairs"):
        found = (
            frontier_figures(results)
            if name.startswith("gold")
            else score_figures(results, "rl" if name.startswith("rl") else "bon")
        )
    elif name.startswith("rl"):
        found = step_figures(results)
    return next(figure for figure in found if figure.name == name)


def _svg(figure: Figure) -> ElementTree.Element:
    return ElementTree.fromstring(vl_convert.vegalite_to_svg(static_spec(figure, 5)))


def _marks(svg: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    """Marks as Vega names them for screen readers: point, line mark, area, rule."""
    return [element for element in svg.iter() if element.get("aria-roledescription") == kind]


def _all_values(figure: Figure) -> list[dict[str, Any]]:
    return [row for values in figure.spec()["datasets"].values() for row in values]


def test_the_figures_of_a_full_study(results: Json) -> None:
    assert [figure.name for figure in figures(results)] == [
        "bon-1000-pairs", "bon-10000-pairs", "rl-10000-pairs", "gold-against-proxy-1000-pairs",
        "gold-against-proxy-10000-pairs", "rl-kl", "rl-entropy", "rl-length", "rl-truncation", "alpha-bon", "beta-bon",
        "alpha-rl", "beta-rl", "proxy-accuracy",
    ]  # fmt: skip


def test_every_figure_compiles_to_a_picture_with_marks_and_see_through_bands(results: Json) -> None:
    for figure in figures(results):
        svg = _svg(figure)
        assert len(_marks(svg, "point")) >= 3, figure.name
        assert len(_marks(svg, "line mark")) >= 1, figure.name
        for area in _marks(svg, "area mark"):
            assert float(area.get("fill-opacity") or area.get("opacity") or 1) < 0.2, figure.name


def test_best_of_n_shows_each_measured_point_once_with_its_number(results: Json) -> None:
    gold = [row for row in _all_values(_named(results, "bon-10000-pairs")) if "Gold" in row and "N" in row]
    assert len(gold) == 5 * 11
    group = next(row for row in results["bon"] if row["group"] == "w16-p10000")
    shown = sorted((row["d"], row["value"]) for row in gold if row["size"] == "16 (37k)")
    measured = sorted((math.sqrt(point["kl"]), point["gold"]) for point in group["curve"])
    assert shown == [pytest.approx(pair, rel=1e-6) for pair in measured]


@pytest.mark.parametrize(("name", "method"), [("bon-10000-pairs", "bon"), ("rl-10000-pairs", "rl")])
def test_the_drawn_law_is_the_fitted_one_and_stays_inside_the_data(results: Json, name: str, method: str) -> None:
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in _all_values(_named(results, name)):
        if row.get("series") == "fitted law of gold":
            curves.setdefault(row["curve"], []).append(row)
    groups = [row for row in results[method] if row["pairs"] == 10_000]
    assert len(curves) == len(groups)
    for group in groups:
        alpha, beta = group["fit"]["alpha"], group["fit"]["beta"]
        drawn = curves[f"{method} {group['group']}"]
        for row in drawn:
            bend = row["d"] if method == "bon" else math.log(row["d"]) if row["d"] > 0 else 0.0
            assert row["value"] == pytest.approx(row["d"] * (alpha - beta * bend), abs=1e-5)
        assert max(row["d"] for row in drawn) == pytest.approx(math.sqrt(group["curve"][-1]["kl"]), rel=1e-6)


def test_only_peaks_inside_the_data_are_marked(results: Json) -> None:
    marked = [row for row in _all_values(_named(results, "bon-10000-pairs")) if "Fitted peak" in row]
    inside = [
        row["fit"]["peak"]["d"]
        for row in results["bon"]
        if row["pairs"] == 10_000 and row["fit"]["peak"]["inside_data"]
    ]
    assert 0 < len(inside) < 5
    assert sorted(row["d"] for row in marked) == [pytest.approx(d, rel=1e-6) for d in sorted(inside)]


def test_a_size_has_one_colour_in_all_figures(results: Json) -> None:
    """RL runs against three of the five sizes; 64 must not take the colour of 32."""
    wanted = dict(zip(("8", "16", "32", "64", "128"), size_colours("light", 5), strict=True))
    for name, label in (("bon-10000-pairs", "Gold"), ("rl-10000-pairs", "Gold"), ("rl-kl", "Step")):
        points = _marks(_svg(_named(results, name)), "point")
        seen = 0
        for point in points:
            words = point.get("aria-label") or ""
            size = re.search(r"size: (\d+) ", words)
            if size and label in words and "Fitted peak" not in words:
                assert point.get("fill") == wanted[size[1]], (name, words)
                seen += 1
        assert seen >= 30, name


def test_one_wide_interval_does_not_flatten_the_curves(results: Json) -> None:
    for point in results["bon"][0]["curve"][-1:]:
        point["gold_ci"] = [-50.0, 50.0]
    spec = _named(results, "bon-1000-pairs").spec()
    low, high = next(
        layer["encoding"]["y"]["scale"]["domain"] for layer in spec["layer"] if "scale" in layer["encoding"]["y"]
    )
    points = [point for row in results["bon"] if row["pairs"] == 1_000 for point in row["curve"]]
    values = [point[key] for point in points for key in ("gold", "proxy")]
    span = max(values) - min(values)
    assert low < min(values) < max(values) < high
    assert high - low < 2.2 * span


def test_points_of_unknown_or_negative_kl_are_left_out_and_counted(results: Json) -> None:
    curve = results["rl"][0]["curve"]
    curve[1]["kl"], curve[2]["kl"] = None, -0.01
    figure = _named(results, "rl-10000-pairs")
    assert "2 points of unknown or negative KL left out" in figure.caption
    gold = [row for row in _all_values(figure) if "Gold" in row and "Step" in row]
    assert len(gold) == 6 * 13 - 2
    assert all(row["d"] is not None for row in gold)


def test_unknown_numbers_draw_nothing(results: Json) -> None:
    for point in results["bon"][0]["curve"]:
        point["gold"] = point["gold_ci"] = None
    results["bon"][0]["fit"] = None
    figure = _named(results, "bon-1000-pairs")
    shown = [row for row in _all_values(figure) if row.get("size") == "8 (19k)"]
    assert shown
    assert all(row.get("series") in ("proxy", None) for row in shown)
    assert not [row for row in shown if "Gold" in row]
    _svg(figure)


def test_curves_of_one_point_and_empty_studies_compile(results: Json) -> None:
    for method in ("bon", "rl"):
        for row in results[method]:
            row["curve"] = row["curve"][:1]
            row["fit"] = {"status": "too_few_points", "alpha": None, "beta": None, "peak": None}
    results["trends"] = []
    for figure in figures(results):
        _svg(figure)
    for key in ("bon", "rl", "trends", "proxies", "ladder"):
        results[key] = []
    assert figures(results) == []


def test_best_of_n_without_gold_still_compiles(results: Json) -> None:
    for row in results["bon"]:
        row["fit"] = None
        for point in row["curve"]:
            point["gold"] = point["gold_ci"] = None
    _svg(_named(results, "bon-1000-pairs"))


def test_static_figures_are_written_whole(results: Json, tmp_path: Path) -> None:
    results["rl"], results["trends"], results["bon"] = [], [], results["bon"][:2]
    written = static_figures(results, tmp_path / "figures")
    assert sorted(path.name for path in written) == sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert {path.suffix for path in written} == {".svg", ".png"}
    for path in written:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG" if path.suffix == ".png" else b"<svg")
        assert len(content) > 3_000
    with pytest.raises(ConfigError, match="bmp"):
        static_figures(results, tmp_path, formats=("svg", "bmp"))


def _luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("n_sizes", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(("scheme", "ground"), [("light", "#ffffff"), ("dark", "#1b1f23")])
def test_colours_of_sizes_grow_lighter_and_stand_out_from_the_ground(scheme: Any, ground: str, n_sizes: int) -> None:
    lightness = [_luminance(colour) for colour in size_colours(scheme, n_sizes)]
    assert lightness == sorted(lightness)
    assert len(set(lightness)) == n_sizes
    for value in lightness:
        bright, dim = max(value, _luminance(ground)), min(value, _luminance(ground))
        assert (bright + 0.05) / (dim + 0.05) >= 3


def test_the_schemes_differ_in_colours_alone() -> None:
    light, dark = (chart_config(scheme, 3, font="sans-serif", legend_columns=4) for scheme in SCHEMES)
    assert light.keys() == dark.keys()
    assert light["range"] != dark["range"]
    assert light["legend"]["columns"] == dark["legend"]["columns"] == 4


def test_a_figure_without_rl_does_not_speak_of_rl(results: Json) -> None:
    assert "Dashed: RL" in _named(results, "gold-against-proxy-10000-pairs").caption
    results["rl"] = []
    figure = _named(results, "gold-against-proxy-10000-pairs")
    assert "RL" not in figure.caption
    assert "RL" not in "".join(_svg(figure).itertext())
