"""The methods that are compared; needs no torch, since reports are made from them."""

from dataclasses import dataclass
from typing import Literal

Combine = Literal["single", "mean", "min", "uwo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to be careful."""

    id: str
    title: str
    combine: Combine = "single"
    is_averaged: bool = False
    """Whether one proxy with the members' mean weights takes their place."""
    shape: Literal["", "par", "clip", "length"] = ""


METHODS = (
    Method(id="single", title="one proxy"),
    Method(id="mean", title="ensemble mean", combine="mean"),
    Method(id="wco", title="ensemble minimum (WCO)", combine="min"),
    Method(id="uwo", title="ensemble mean − λ variance (UWO)", combine="uwo"),
    Method(id="warm", title="averaged weights (WARM)", is_averaged=True),
    Method(id="par", title="preference as reward (PAR)", shape="par"),
    Method(id="clip", title="clipped reward", shape="clip"),
    Method(id="length", title="length penalty", shape="length"),
)
STOPPED = "stopped"
STOPPED_TITLE = "one proxy, stopped by forecast"
