"""Figures of curves: gold and proxy against distance, and gold against proxy.

Gold and proxy in standard deviations of gold on the base policy, 0 being the base policy; d = sqrt(KL), KL in nats.
"""

import altair as alt
import numpy as np

from overopt.reports.charts import (
    Figure,
    Values,
    by_pairs,
    inline_chart,
    interval_end,
    layered,
    line_legend,
    number_or_none,
    size_colour,
    size_shape,
    zero_rule,
)  # fmt: skip
from overopt.reports.numbers import count, decimal, interval, is_known, nats, score, score_interval
from overopt.reports.results import (
    METHOD_NAMES,
    Method,
    Results,
    Row,
    Sizes,
    capitalized,
    distance,
    interval_word,
    proxy_words,
    rows_of,
)  # fmt: skip
from overopt.stats.laws import Law, law_value

DISTANCE_AXIS = "distance d = √KL (√nats)"
SCORE_AXIS = "score (sd of gold)"
GOLD, PROXY, LAW = "gold", "proxy", "fitted law of gold"
_LAW_POINTS = 60


def score_figures(results: Results, method: Method) -> list[Figure]:
    """Gold and proxy against d, one figure for each number of training pairs, and one where it is not known."""
    sizes, found = Sizes.of(results), []
    rows_given = rows_of(results, method)
    unknown = [row for row in rows_given if not is_known(row.get("pairs"))]
    for pairs, rows in [*by_pairs(rows_given), *([(None, unknown)] if unknown else [])]:
        trained = "" if pairs is None else f", proxies trained on {count(pairs)} pairs"
        points = [point for row in rows for point in _curve_points(row, method, sizes)]
        known = [point for point in points if point["d"] is not None]
        if all(point["gold"] is None and point["proxy"] is None for point in known):
            continue
        found.append(
            Figure(
                name=method if pairs is None else f"{method}-{pairs}-pairs",
                section=method,
                title=f"{capitalized(METHOD_NAMES[method])}{trained}",
                caption=_score_caption(results, method, rows, len(points) - len(known)),
                chart=_score_chart(known, rows, method, sizes),
            )
        )
    return found


def frontier_figures(results: Results) -> list[Figure]:
    """Gold against proxy along every curve, one figure for each number of training pairs."""
    sizes, found = Sizes.of(results), []
    both = {method: dict(by_pairs(rows_of(results, method))) for method in METHOD_NAMES}
    for pairs in sorted({pairs for groups in both.values() for pairs in groups}):
        points = [
            point | {"method": METHOD_NAMES[method]}
            for method, groups in both.items()
            for row in groups.get(pairs, [])
            for point in _curve_points(row, method, sizes)
        ]
        points = [point for point in points if is_known(point["proxy"]) and is_known(point["gold"])]
        if points:
            found.append(
                Figure(
                    name=f"gold-against-proxy-{pairs}-pairs",
                    section="laws",
                    title=f"Gold against proxy, {count(pairs)} pairs",
                    caption=f"Each line follows one curve from the base policy at (0, 0). {_line_words(points)} "
                    "On the thin diagonal gold gains what the proxy promises.",
                    chart=_frontier_chart(points, sizes),
                )
            )
    return found


def _curve_points(row: Row, method: Method, sizes: Sizes) -> Values:
    x = "n" if method == "bon" else "step"
    return [
        {
            "d": distance(point.get("kl")),
            "gold": number_or_none(point.get("gold")),
            "proxy": number_or_none(point.get("proxy")),
            "gold_low": interval_end(point.get("gold_ci"), 0), "gold_high": interval_end(point.get("gold_ci"), 1),
            "proxy_low": interval_end(point.get("proxy_ci"), 0), "proxy_high": interval_end(point.get("proxy_ci"), 1),
            "size": sizes.label(row),
            "curve": f"{method} {row.get('group')}",
            "order": index,
            "Proxy": proxy_words(row),
            capitalized(x): count(point.get(x)),
            "KL": f"{nats(point.get('kl'))} nats",
            "Gold": f"{score(point.get('gold'))} {score_interval(point.get('gold_ci'))}",
            "Proxy score": f"{score(point.get('proxy'))} {score_interval(point.get('proxy_ci'))}",
        }
        for index, point in enumerate(row.get("curve") or [])
    ]  # fmt: skip


def _score_caption(results: Results, method: Method, rows: list[Row], left_out: int) -> str:
    prompts = (results.get("data") or {}).get("prompts")
    over = f"{count(prompts)} prompts" if is_known(prompts) and method == "bon" else "prompts"
    if method == "bon":
        n_seeds = sorted({len(row.get("seeds") or []) for row in rows} - {0})
        if n_seeds and n_seeds[-1] > 1:
            numbers = " or ".join(str(number) for number in n_seeds)
            over += f", curves averaged over {numbers} proxy seeds"
        elif n_seeds:
            over += ", one proxy seed"
        mark = "n"
    else:
        over += ", one line per run"
        mark = "measured step"
    text = (
        f"Solid: gold, one mark for each {mark}; dashed: proxy; bands: {interval_word(results)} over {over}; dotted: "
        "fitted law of gold; ringed crosses: its peaks, where they lie inside the data."
    )
    if left_out:
        text += f" {left_out} point{'s' if left_out > 1 else ''} of unknown or negative KL left out."
    return text


def _score_chart(points: Values, rows: list[Row], method: Method, sizes: Sizes) -> alt.LayerChart:
    domain = _score_domain(points)
    present = [label for label in sizes.labels.values() if any(point["size"] == label for point in points)]
    law, peaks = _law_values(rows, method, sizes), _peak_values(rows, sizes)
    lines = ((_series(points, PROXY, "proxy"), 1.6), (_series(points, GOLD, "gold"), 2.2), (law, 1.4))
    x = alt.X("d:Q", title=DISTANCE_AXIS, scale=alt.Scale(nice=False, padding=8))
    y = alt.Y("value:Q", title=SCORE_AXIS, scale=alt.Scale(domain=domain, nice=False))
    colour = size_colour(sizes, present)
    drawn = [name for name in (GOLD, PROXY, LAW) if any(values and values[0]["series"] == name for values, _ in lines)]
    dash = alt.StrokeDash(
        "series:N",
        scale=alt.Scale(domain=[GOLD, PROXY, LAW], range=[[1, 0], [6, 4], [1.5, 3]]),
        legend=line_legend(drawn),
    )
    gold = [point | {"value": point["gold"]} for point in points if point["gold"] is not None]
    tooltip = ["Proxy:N", "N:N" if method == "bon" else "Step:N", "KL:N", "Gold:N", "Proxy score:N"]
    layers = [
        zero_rule(),
        _band(points, "proxy", 0.06, x, y, colour),
        _band(points, "gold", 0.16, x, y, colour),
        *(
            inline_chart(values).mark_line(clip=True, strokeWidth=width).encode(
                x=x, y=y, color=colour, strokeDash=dash, detail="curve:N", order="order:Q"
            )
            for values, width in lines
        ),
        inline_chart(peaks).mark_point(shape="circle", size=170, strokeWidth=1.6, clip=True, opacity=1).encode(
            x=x, y=y, color=colour, tooltip=["Proxy:N", "Fitted peak:N", "KL:N", "Gold:N"]
        ),
        inline_chart(peaks).mark_point(shape="cross", size=50, filled=True, clip=True, opacity=1).encode(
            x=x, y=y, color=colour, tooltip=["Proxy:N", "Fitted peak:N", "KL:N", "Gold:N"]
        ),
        inline_chart(gold).mark_point(filled=True, size=34, clip=True, opacity=1).encode(
            x=x, y=y, color=colour, shape=size_shape(sizes, present), tooltip=tooltip
        ),
    ]  # fmt: skip
    return layered(layers, f"Gold (solid) and proxy (dashed) against distance for {METHOD_NAMES[method]}.")


def _score_domain(points: Values) -> list[float]:
    """Range of the lines, 0 included; of the bands at most half as much again, so that one wide interval does not
    flatten the curves."""
    values = [0.0] + [point[key] for point in points for key in ("gold", "proxy") if point[key] is not None]
    low, high = min(values), max(values)
    span = high - low or 1.0
    ends = [
        point[f"{key}_{end}"]
        for point in points
        for key in ("gold", "proxy")
        for end in ("low", "high")
        if point[f"{key}_{end}"] is not None
    ]
    low, high = max(min([low, *ends]), low - span / 2), min(max([high, *ends]), high + span / 2)
    return [low - 0.04 * span, high + 0.04 * span]


def _series(points: Values, series: str, key: str) -> Values:
    return [
        {"d": point["d"], "value": point[key], "size": point["size"], "curve": point["curve"], "series": series,
         "order": point["order"]}
        for point in points
        if point[key] is not None
    ]  # fmt: skip


def _law_values(rows: list[Row], method: Method, sizes: Sizes) -> Values:
    values: Values = []
    for row in rows:
        fit = row.get("fit") or {}
        far = [d for point in row.get("curve") or [] if (d := distance(point.get("kl"))) is not None]
        if not (is_known(fit.get("alpha")) and is_known(fit.get("beta")) and far and max(far) > 0):
            continue
        # Closer together near 0, where the law of RL is steepest.
        grid = max(far) * np.linspace(0.0, 1.0, _LAW_POINTS) ** 2
        law: Law = "rl" if fit.get("law", method) == "rl" else "bon"
        for index, (d, value) in enumerate(zip(grid, law_value(law, grid, fit["alpha"], fit["beta"]), strict=True)):
            values.append(
                {"d": float(d), "value": float(value), "size": sizes.label(row), "series": LAW, "order": index,
                 "curve": f"{method} {row.get('group')}"}
            )  # fmt: skip
    return values


def _peak_values(rows: list[Row], sizes: Sizes) -> Values:
    peaks = [(row, (row.get("fit") or {}).get("peak") or {}) for row in rows]
    return [
        {"d": peak["d"], "value": peak["gold"], "size": sizes.label(row), "Proxy": proxy_words(row),
         "Fitted peak": f"d = {decimal(peak['d'])} {interval(peak.get('d_ci'))}",
         "KL": f"{nats(peak.get('kl'))} nats", "Gold": score(peak["gold"])}
        for row, peak in peaks
        if peak.get("inside_data") and is_known(peak.get("d")) and is_known(peak.get("gold"))
    ]  # fmt: skip


def _band(points: Values, key: str, opacity: float, x: alt.X, y: alt.Y, colour: alt.Color) -> alt.Chart:
    values = [
        {"d": point["d"], "value": point[f"{key}_low"], "high": point[f"{key}_high"], "size": point["size"],
         "curve": point["curve"]}
        for point in points
        if point[f"{key}_low"] is not None and point[f"{key}_high"] is not None
    ]  # fmt: skip
    band: alt.Chart = (
        inline_chart(values)
        .mark_area(clip=True, opacity=opacity)
        .encode(x=x, y=y, y2="high:Q", color=colour, detail="curve:N")
    )
    return band


def _methods_present(points: Values) -> list[str]:
    return [name for name in METHOD_NAMES.values() if any(point["method"] == name for point in points)]


def _line_words(points: Values) -> str:
    styles = dict(zip(METHOD_NAMES.values(), ("Solid", "Dashed"), strict=True))
    return " ".join(f"{styles[name]}: {name}." for name in _methods_present(points))


def _frontier_chart(points: Values, sizes: Sizes) -> alt.LayerChart:
    present = [label for label in sizes.labels.values() if any(point["size"] == label for point in points)]
    colour = size_colour(sizes, present)
    golds, proxies = ([point[key] for point in points] + [0.0] for key in ("gold", "proxy"))
    ends = (max(min(golds), min(proxies)), min(max(golds), max(proxies)))
    x = alt.X("proxy:Q", title="proxy (sd of gold)", scale=alt.Scale(nice=False, padding=10))
    y = alt.Y("gold:Q", title="gold (sd of gold)", scale=alt.Scale(nice=False, padding=10))
    dash = alt.StrokeDash(
        "method:N",
        scale=alt.Scale(domain=list(METHOD_NAMES.values()), range=[[1, 0], [6, 4]]),
        legend=line_legend(_methods_present(points)),
    )
    diagonal = inline_chart([{"proxy": end, "gold": end} for end in ends])
    tooltip = ["method:N", "Proxy:N", "N:N", "Step:N", "KL:N", "Gold:N", "Proxy score:N"]
    present_keys = {key for point in points for key in point}
    tooltip = [name for name in tooltip if name.split(":")[0] in present_keys]
    layers = [
        zero_rule(),
        diagonal.mark_line(color="gray", strokeWidth=1, opacity=0.7).encode(x=x, y=y),
        inline_chart(points).mark_line(strokeWidth=1.8).encode(
            x=x, y=y, color=colour, strokeDash=dash, detail="curve:N", order="order:Q"
        ),
        inline_chart(points).mark_point(filled=True, size=28, opacity=1).encode(
            x=x, y=y, color=colour, shape=size_shape(sizes, present), tooltip=tooltip
        ),
    ]  # fmt: skip
    return layered(layers, "Gold against proxy along each best-of-n curve and RL run.")
