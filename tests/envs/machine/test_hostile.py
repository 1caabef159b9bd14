"""Calls that try to use up time and memory end soon, at the same step every time, and the host sees none of them."""

import pytest

from overopt.envs.machine import Limits, Machine

from .host_events import host_events
from .hostile import CALLS, hostile_machine


@pytest.fixture(scope="module")
def base() -> Machine:
    return hostile_machine()


@pytest.mark.parametrize("name", CALLS)
def test_a_hostile_call_ends_by_its_steps_and_causes_no_host_event(base, name):
    """What a step costs is measured in bench/shell.py."""
    machine = base.copy()
    with host_events() as events:
        answer = machine.run(CALLS[name])
    assert events == []
    meter = machine.shell.meter
    assert meter.commands <= meter.limits.steps
    assert meter.left >= 0 or "steps" in answer.limits


def test_a_stopped_call_stops_at_the_same_step_again(base):
    for name in ("sed growing", "find everything often", "classic catastrophic pattern", "sort many lines"):
        first, second = base.copy(), base.copy()
        assert first.run(CALLS[name]) == second.run(CALLS[name])
        assert first.tree() == second.tree()
        assert first.writes == second.writes


def test_what_a_machine_holds_stays_within_its_quotas(base):
    limits = Limits()
    for name in ("many files", "many copies", "append until full", "many writes", "mkdir deep", "many variables"):
        machine = base.copy()
        machine.run(CALLS[name])
        tree = machine.tree()
        sizes = [len(entry.text.encode("utf-8", "surrogateescape")) for entry in tree.values() if entry.kind == "file"]
        assert len(tree) <= limits.inodes
        assert sum(sizes) <= limits.total_bytes
        assert max(sizes) <= limits.file_bytes
        assert max(path.count("/") for path in tree) <= limits.depth + 1
