"""Figures against the size of the proxy: the coefficients of the laws, and agreement with gold."""

import altair as alt
import numpy as np

from overopt.reports.charts import (
    SMALL_HEIGHT,
    Figure,
    Values,
    above_zero,
    inline_chart,
    interval_end,
    layered,
    pairs_colour,
    pairs_shape,
    parameters_axis,
    side_by_side,
)  # fmt: skip
from overopt.reports.numbers import coefficient, count, interval, is_known, percent, percent_interval, short_count
from overopt.reports.results import METHOD_NAMES, Results, Row, interval_word, pair_counts, proxy_words, rows_of
from overopt.stats.laws import LAWS


def coefficient_figures(results: Results) -> list[Figure]:
    """alpha and beta against the size of the proxy, with intervals and fitted trends."""
    trends = [trend for trend in rows_of(results, "trends") if trend.get("points")]
    all_pairs = [count(pairs) for pairs in pair_counts(trends)]
    found = []
    for law in LAWS:
        for name in ("alpha", "beta"):
            chosen = [trend for trend in trends if (trend.get("law"), trend.get("coefficient")) == (law, name)]
            points = [point for trend in chosen for point in _trend_points(trend)]
            if points:
                symbol = {"alpha": "α", "beta": "β"}[name]
                # alpha and beta ln d multiply d, beta d multiplies it once more
                unit = "nat" if (law, name) == ("bon", "beta") else "nat½"
                found.append(
                    Figure(
                        name=f"{name}-{law}",
                        section="laws",
                        title=f"{symbol} of {METHOD_NAMES[law]}",
                        caption=f"{symbol} of each fitted curve with its {interval_word(results)}; lines: least "
                        "squares in the logarithm of the parameters.",
                        chart=_trend_chart(points, chosen, f"{symbol} (sd of gold per {unit})", all_pairs),
                        is_small=True,
                    )
                )
    return found


def accuracy_figures(results: Results) -> list[Figure]:
    """How often each proxy agrees with gold on held-out pairs, against its size."""
    proxies = [
        row for row in rows_of(results, "proxies") if is_known(row.get("accuracy")) and above_zero(row, "parameters")
    ]
    if not proxies:
        return []
    held_out = (results.get("data") or {}).get("held_out_pairs")
    over = f" over {count(held_out)} held-out pairs" if is_known(held_out) else ""
    return [
        Figure(
            name="proxy-accuracy",
            section="proxies",
            title="Agreement of the proxies with gold",
            caption=f"Points: one proxy each, with its {interval_word(results)}{over}, seeds set a few pixels apart; "
            "lines: mean over seeds; dashed: chance.",
            chart=_accuracy_chart(proxies),
        )
    ]


def _trend_points(trend: Row) -> Values:
    return [
        {
            "parameters": point["parameters"],
            "value": point["value"],
            "low": interval_end(point.get("ci"), 0), "high": interval_end(point.get("ci"), 1),
            "pairs": count(trend.get("pairs")),
            "Parameters": short_count(point["parameters"]),
            "Training pairs": count(trend.get("pairs")),
            "Value": f"{coefficient(point['value'])} {interval(point.get('ci'), 3)}",
        }
        for point in trend["points"]
        if is_known(point.get("value")) and above_zero(point, "parameters")
    ]  # fmt: skip


def _trend_chart(points: Values, trends: list[Row], title: str, all_pairs: list[str]) -> alt.LayerChart:
    lines: Values = []
    for trend in trends:
        if is_known(trend.get("slope")) and is_known(trend.get("intercept")):
            sizes = [point["parameters"] for point in _trend_points(trend)]
            for end in {min(sizes), max(sizes)} if sizes else ():
                value = trend["intercept"] + trend["slope"] * float(np.log10(end))
                lines.append({"parameters": end, "value": value, "pairs": count(trend.get("pairs"))})
    present = {point["pairs"] for point in points}
    colour, shape = pairs_colour(all_pairs, present), pairs_shape(all_pairs, present)
    x, scale = parameters_axis(points), alt.Scale(zero=False, padding=8)
    y = alt.Y("value:Q", title=title, scale=scale)
    layers = [inline_chart(lines).mark_line(strokeWidth=1.2).encode(x=x, y=y, color=colour)]
    tooltip = ["Parameters:N", "Training pairs:N", "Value:N"]
    for offset, values in side_by_side(points, "pairs"):
        layers += _points_with_bars(values, offset, x, y, colour, shape, tooltip)
    return layered(layers, f"{title} against the parameters of the proxy.", height=SMALL_HEIGHT)


def _accuracy_chart(proxies: list[Row]) -> alt.LayerChart:
    points = [
        {
            "parameters": row["parameters"],
            "value": 100 * row["accuracy"],
            "seed": row.get("seed"),
            "low": None if (low := interval_end(row.get("accuracy_ci"), 0)) is None else 100 * low,
            "high": None if (high := interval_end(row.get("accuracy_ci"), 1)) is None else 100 * high,
            "pairs": count(row.get("pairs")),
            "Proxy": proxy_words(row),
            "Parameters": count(row["parameters"]),
            "Accuracy": f"{percent(row['accuracy'])} {percent_interval(row.get('accuracy_ci'))}",
        }
        for row in proxies
    ]
    all_pairs = [count(pairs) for pairs in pair_counts(proxies)]
    colour, shape = pairs_colour(all_pairs, set(all_pairs)), pairs_shape(all_pairs, set(all_pairs))
    x, scale = parameters_axis(points), alt.Scale(zero=False, padding=8)
    title = "agreement with gold (%)"
    y = alt.Y("value:Q", title=title, scale=scale)
    layers = [
        inline_chart([{"value": 50}]).mark_rule(strokeDash=[4, 4], strokeWidth=1.2).encode(y=y),
        inline_chart(points)
        .mark_line(strokeWidth=1.6)
        .encode(x=x, y=alt.Y("mean(value):Q", title=title, scale=scale), color=colour),
    ]
    for offset, values in side_by_side(points, "seed"):
        layers += _points_with_bars(values, offset, x, y, colour, shape, ["Proxy:N", "Parameters:N", "Accuracy:N"])
    return layered(layers, "Accuracy of the proxies on held-out pairs against their parameters.")


def _points_with_bars(
    points: Values, offset: float, x: alt.X, y: alt.Y, colour: alt.Color, shape: alt.Shape, tooltip: list[str]
) -> list[alt.Chart]:
    bars = [point for point in points if point["low"] is not None and point["high"] is not None]
    ends = [point | {"value": point["low"]} for point in bars]
    return [
        inline_chart(ends).mark_rule(strokeWidth=1.4, xOffset=offset).encode(x=x, y=y, y2="high:Q", color=colour),
        inline_chart(points)
        .mark_point(filled=True, size=50, opacity=1, xOffset=offset)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip),
    ]
