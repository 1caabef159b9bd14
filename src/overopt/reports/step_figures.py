"""Figures of what RL does step by step: KL, entropy, length and truncation of its replies."""

import altair as alt

from overopt.reports.charts import SMALL_HEIGHT, Figure, Values, inline_chart, layered, size_colour, size_shape
from overopt.reports.numbers import count, is_known, with_error
from overopt.reports.results import Results, Row, Sizes, capitalized, proxy_words, rows_of


def step_figures(results: Results) -> list[Figure]:
    """KL, entropy, length and truncation along the RL runs, with two standard errors to either side."""
    sizes, runs = Sizes.of(results), rows_of(results, "rl")
    measures = (
        ("kl", "KL from the base policy", "KL (nats)", 1.0),
        ("entropy", "Entropy of a reply", "entropy (nats)", 1.0),
        ("length", "Length of a reply", "length (tokens)", 1.0),
        ("truncation", "Replies cut at the length limit", "truncated (%)", 100.0),
    )
    found = []
    for key, title, axis, scale in measures:
        points = [point for run in runs for point in _step_points(run, key, scale, sizes)]
        if points:
            found.append(
                Figure(
                    name=f"rl-{key}",
                    section="rl",
                    title=title,
                    caption=f"{capitalized(axis)} at each measured step, one line per run; bands: ±2 standard errors.",
                    chart=_step_chart(points, axis, sizes),
                    is_small=True,
                )
            )
    return found


def _step_points(run: Row, key: str, scale: float, sizes: Sizes) -> Values:
    values = []
    for point in run.get("curve") or []:
        value, error = point.get(key), point.get(f"{key}_se")
        if is_known(value) and is_known(point.get("step")):
            wide = 2 * error if is_known(error) else None
            values.append(
                {
                    "step": point["step"],
                    "value": scale * value,
                    "low": None if wide is None else scale * (value - wide),
                    "high": None if wide is None else scale * (value + wide),
                    "size": sizes.label(run),
                    "curve": str(run.get("group")),
                    "Proxy": proxy_words(run),
                    "Step": count(point["step"]),
                    "Value ± standard error": with_error(
                        {"value": scale * value, "stderr": scale * error if is_known(error) else None}, 2
                    ),
                }
            )
    return values


def _step_chart(points: Values, axis: str, sizes: Sizes) -> alt.LayerChart:
    present = [label for label in sizes.labels.values() if any(point["size"] == label for point in points)]
    colour = size_colour(sizes, present)
    x = alt.X("step:Q", title="training step", scale=alt.Scale(nice=False, padding=6))
    is_share = axis.endswith("(%)")
    scale = alt.Scale(zero=False, domainMin=0) if is_share else alt.Scale(zero=False)
    y = alt.Y("value:Q", title=axis, scale=scale)
    bands = [point for point in points if point["low"] is not None]
    layers = [
        inline_chart(bands).mark_area(opacity=0.1, clip=True).encode(
            x=x, y=alt.Y("low:Q", title=axis, scale=scale), y2="high:Q", color=colour, detail="curve:N"
        ),
        inline_chart(points).mark_line(strokeWidth=1.8).encode(x=x, y=y, color=colour, detail="curve:N"),
        inline_chart(points).mark_point(filled=True, size=24, opacity=1).encode(
            x=x, y=y, color=colour, shape=size_shape(sizes, present),
            tooltip=["Proxy:N", "Step:N", "Value ± standard error:N"],
        ),
    ]  # fmt: skip
    return layered(layers, f"{capitalized(axis)} by training step, one line per run.", height=SMALL_HEIGHT)
