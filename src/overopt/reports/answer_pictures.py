"""Pictures of an answer's figures: SVG that a page carries and that follows its ground, and files that stand alone.

The page's SVG is rebuilt element by element from what the renderer made: only drawing elements and attributes are
kept, names of clip paths are made unique, and each colour is a variable of the page's style.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping

import vl_convert
from markupsafe import Markup

from overopt.reports.answer_drawings import Drawing
from overopt.reports.answer_figures import EXPORT, NARROW, PREVIEW, WIDE, Look, figure_spec
from overopt.reports.figures import PNG_SCALE

LOOKS: dict[str, Look] = {"wide": WIDE, "narrow": NARROW, "preview": PREVIEW}

_SVG = "{http://www.w3.org/2000/svg}"
_ELEMENTS = {"svg", "g", "path", "text", "tspan", "rect", "line", "defs", "clipPath", "linearGradient", "stop", "title"}
_ATTRIBUTES = {
    "width", "height", "viewBox", "role", "aria-label", "aria-hidden", "transform", "d", "x", "y", "x1", "x2", "y1",
    "y2", "dx", "dy", "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray",
    "stroke-miterlimit", "stroke-linecap", "stroke-linejoin", "opacity", "text-anchor", "font-family", "font-size",
    "font-weight", "font-style", "clip-path", "id", "offset", "stop-color", "pointer-events",
}  # fmt: skip
_COLOURS = ("fill", "stroke", "stop-color")
_USUAL = {("opacity", "1"), ("fill-opacity", "1"), ("stroke-opacity", "1"), ("stroke-miterlimit", "10")}
_DECIMALS = re.compile(r"\d+\.\d{3,}")


def export_svg(drawing: Drawing) -> bytes:
    """The figure with its title and caption, on white."""
    return vl_convert.vegalite_to_svg(figure_spec(drawing, EXPORT)).encode("utf-8", "replace")


def export_png(svg: bytes) -> bytes:
    """The same in pixels."""
    return vl_convert.svg_to_png(svg.decode(), scale=PNG_SCALE)


def page_svg(drawing: Drawing, name: str, look: str) -> Markup:
    """The figure for a page; ``look`` is a key of ``LOOKS``, ``name`` unique in the page."""
    return _embedded(
        vl_convert.vegalite_to_svg(figure_spec(drawing, LOOKS[look])), drawing.pairs(), f"{name}-{look}", look
    )


def colour_style(drawings: Iterable[Drawing]) -> str:
    """The variables that the pictures of a page use, for a light and a dark ground."""
    pairs = sorted({pair for drawing in drawings for pair in drawing.pairs().items()})
    light = "".join(f"{_variable(*pair)}:{pair[0]};" for pair in pairs)
    dark = "".join(f"{_variable(*pair)}:{pair[1]};" for pair in pairs)
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}" if pairs else ""


def _variable(light: str, dark: str) -> str:
    return f"--f{light[1:]}{dark[1:]}"


def _embedded(svg: str, pairs: Mapping[str, str], prefix: str, look: str) -> Markup:
    root = ElementTree.fromstring(svg)
    built = _copied(root, pairs, prefix)
    width, height = (float(root.get(side, "0")) for side in ("width", "height"))
    built.attrib.update(
        {"class": look, "viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
    )
    if look == "preview":
        built.attrib.update({"aria-hidden": "true"})
        built.attrib.pop("role", None)
        for element in built.iter():
            for name in ("aria-label", "role"):
                element.attrib.pop(name, None)
    # The bytes are ours: elements and attributes of the lists above, texts and values escaped by the serializer.
    return Markup(ElementTree.tostring(built, encoding="unicode"))


def _copied(element: ElementTree.Element, pairs: Mapping[str, str], prefix: str) -> ElementTree.Element:
    copy = ElementTree.Element(element.tag.removeprefix(_SVG))
    for name, value in element.attrib.items():
        is_bare = name == "stroke" and element.get("stroke-width") == "0"
        if name not in _ATTRIBUTES or (name, value) in _USUAL or is_bare:
            continue
        if name in _COLOURS:
            copy.set(name, _coloured(value, pairs, prefix))
        elif name in ("d", "transform"):
            copy.set(name, _DECIMALS.sub(lambda number: f"{float(number[0]):.2f}", value))
        elif name in ("id", "clip-path"):
            copy.set(name, re.sub(r"^(url\(#)?", rf"\g<0>{prefix}-", value))
        else:
            copy.set(name, value)
    copy.text, copy.tail = element.text, element.tail
    for child in element:
        if child.tag.removeprefix(_SVG) in _ELEMENTS:
            copy.append(_copied(child, pairs, prefix))
    return copy


def _coloured(value: str, pairs: Mapping[str, str], prefix: str) -> str:
    if value.startswith("url(#"):
        return value.replace("url(#", f"url(#{prefix}-", 1)
    dark = pairs.get(value.lower())
    return value if dark is None else f"var({_variable(value.lower(), dark)})"
