from dataclasses import replace

import pytest

from overopt.records.answers import Claim
from overopt.studies.gao2022.equality import what_equal_takes

CLAIM = Claim(
    id="a-claim",
    what="gold, equal within 0.1 sd",
    value=0.0,
    ci=(-0.3, 0.1),
    counted="64 prompts",
    unit="sd",
    margin=0.1,
    sentences={"above": "", "below": "", "equal": "", "open": ""},
)


def test_an_interval_wider_than_the_margin_could_not_say_equal_whatever_its_value():
    (caveat,) = what_equal_takes(CLAIM, "Gold")
    assert caveat.startswith("Gold is known to ±0.20 sd")
    assert "within ±0.10 sd" in caveat
    assert "cannot say" in caveat


def test_an_interval_narrower_than_the_margin_can():
    (caveat,) = what_equal_takes(replace(CLAIM, value=0.3, ci=(0.25, 0.35)), "Gold")
    assert "±0.05 sd" in caveat
    assert "can say" in caveat


@pytest.mark.parametrize("changed", [{"ci": (None, None)}, {"value": None}, {"margin": None}])
def test_without_an_interval_or_a_margin_nothing_is_said(changed):
    assert what_equal_takes(replace(CLAIM, **changed), "Gold") == []
