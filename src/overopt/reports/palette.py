"""Colours of the page and its figures, for a light and a dark ground.

Sizes run from blue over magenta to amber while lightness grows, so that their order survives colour blindness and grey
print; every colour keeps a contrast of 3:1 to its ground. Figures add a shape to each size.
"""

from typing import Any, Literal

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")

_SIZE_ANCHORS: dict[Scheme, tuple[str, ...]] = {
    "light": ("#14206b", "#5b35b5", "#a9309a", "#d9503f", "#c98500"),
    "dark": ("#6f86f2", "#b07cf5", "#ee74c2", "#ff9a76", "#ffd75a"),
}

INK: dict[Scheme, str] = {"light": "#1c2126", "dark": "#e7e9ec"}
MUTED: dict[Scheme, str] = {"light": "#59626d", "dark": "#a4adb8"}
GRID: dict[Scheme, str] = {"light": "#e4e6ea", "dark": "#30363d"}
AXIS: dict[Scheme, str] = {"light": "#aab1ba", "dark": "#59626d"}
CATEGORIES: dict[Scheme, tuple[str, ...]] = {
    "light": ("#0f6e84", "#b4540a", "#5b4b9e", "#3f7d2c", "#a534ed", "#592903", "#9b87c3", "#22075d"),
    "dark": ("#5cc4dc", "#f2a65e", "#b5a6f2", "#93cf7c", "#b14193", "#83810e", "#d4f5f4", "#0571f1"),
}
_RISING: dict[Scheme, tuple[str, ...]] = {
    "light": ("#eef3f8", "#a9c9e0", "#4f93bf", "#1d5a8c", "#0c2c52"),
    "dark": ("#20262d", "#204a6b", "#2f7ba8", "#6cb2d9", "#d3ecfa"),
}
_SIGNED: dict[Scheme, tuple[str, ...]] = {
    "light": ("#8c3520", "#dc9a83", "#f2f1ef", "#86b1d6", "#1c4f85"),
    "dark": ("#f2a48c", "#93503e", "#23282d", "#3a6a98", "#a3cdf5"),
}


def size_colours(scheme: Scheme, n_sizes: int) -> list[str]:
    """One colour a size, from the smallest to the largest.

    >>> size_colours("light", 2)
    ['#14206b', '#c98500']
    """
    last = len(_SIZE_ANCHORS[scheme]) - 1
    if n_sizes == 1:
        return [_between(_SIZE_ANCHORS[scheme], last / 4)]
    return [_between(_SIZE_ANCHORS[scheme], last * index / (n_sizes - 1)) for index in range(n_sizes)]


def kind_colours(scheme: Scheme, n_kinds: int) -> list[str]:
    """One colour a kind; after the last category they begin again, and lines and points differ otherwise.

    >>> kind_colours("light", 9)[8] == kind_colours("light", 1)[0]
    True
    """
    few = CATEGORIES[scheme]
    return [few[kind % len(few)] for kind in range(n_kinds)]


def cell_colours(scheme: Scheme, n_steps: int, *, is_signed: bool) -> list[str]:
    """Colours of a heat map from low to high; of signed values the middle is the ground."""
    anchors = (_SIGNED if is_signed else _RISING)[scheme]
    last = len(anchors) - 1
    return [_between(anchors, last * index / max(n_steps - 1, 1)) for index in range(n_steps)]


def _between(anchors: tuple[str, ...], place: float) -> str:
    left = min(int(place), len(anchors) - 2)
    channels = []
    for start in (1, 3, 5):
        below, above = (int(anchors[left + step][start : start + 2], 16) for step in (0, 1))
        channels.append(round(below + (above - below) * (place - left)))
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def chart_config(scheme: Scheme, n_sizes: int, *, font: str, legend_columns: int) -> dict[str, Any]:
    """A Vega-Lite ``config``: everything about a figure that depends on the ground it is seen on.

    ``legend_columns`` keeps a legend within the figure; the page's script counts them anew for the width it finds.
    """
    # Any: the values of a JSON object.
    return {
        "background": "transparent",
        "padding": {"left": 4, "top": 4, "right": 16, "bottom": 4},  # half of the last label of an x axis
        "font": font,
        "view": {"stroke": None},
        "range": {"ordinal": size_colours(scheme, max(n_sizes, 1)), "category": list(CATEGORIES[scheme])},
        "axis": {
            "labelColor": MUTED[scheme], "titleColor": INK[scheme], "gridColor": GRID[scheme],
            "domainColor": AXIS[scheme], "tickColor": AXIS[scheme], "labelFontSize": 12, "titleFontSize": 12,
            "titleFontWeight": "normal", "titlePadding": 8, "labelOverlap": True, "tickCount": 6, "tickSize": 4,
        },
        "axisX": {"grid": False},
        "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
        "legend": {
            "labelColor": INK[scheme], "titleColor": MUTED[scheme], "labelFontSize": 12, "titleFontSize": 12,
            "titleFontWeight": "normal", "orient": "bottom", "direction": "horizontal", "symbolStrokeWidth": 2,
            "columnPadding": 14, "rowPadding": 3, "titleLimit": 0, "labelLimit": 0, "columns": legend_columns,
            "layout": {"bottom": {"direction": "vertical", "anchor": "start", "margin": 8}},
        },
        "title": {"color": INK[scheme], "anchor": "start", "fontSize": 14, "fontWeight": 600, "offset": 12},
        "rule": {"color": AXIS[scheme]},
        "text": {"color": MUTED[scheme], "fontSize": 12},
    }  # fmt: skip
