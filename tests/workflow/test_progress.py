"""What a person sees: the sums behind it by hand, the plain lines, and that no bar breaks a run."""

import io
import math
import subprocess
import sys

import pytest
import toy_stages as toy
from rich.console import Console

from overopt.workflow import Event, Stage, Store, run
from overopt.workflow.progress import LiveView, Tally


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def event(kind, key, **values):
    return Event(kind=kind, label=values.pop("label", key), name="n", key=key, cost=values.pop("cost", 1.0), **values)


@pytest.fixture
def clock():
    return Clock()


def test_time_left_follows_costs_and_what_runs_at_once(clock):
    tally = Tally(clock)
    for key, cost in {"a": 1, "b": 1, "c": 4, "d": 2}.items():
        tally.see(event("planned", key, cost=cost))
    assert math.isnan(tally.time_left())
    tally.see(event("started", "a"))
    tally.see(event("started", "b"))
    assert math.isnan(tally.time_left())  # nothing has ended: unknown, not 0
    clock.now += 10
    tally.see(event("finished", "a", seconds=10))
    tally.see(event("finished", "b", seconds=10))
    # 10 s a unit of cost, 6 units left, two at once so far
    assert tally.time_left() == pytest.approx(30)
    tally.see(event("started", "c", cost=4))
    tally.see(event("started", "d", cost=2))
    clock.now += 10
    assert tally.time_left() == pytest.approx(30)  # c has 30 s, d 10 s: 40 / 2 = 20, but c alone needs 30
    assert tally.elapsed() == 20
    tally.see(event("progress", "c", done=0, total=100, unit="steps"))
    clock.now += 1
    tally.see(event("progress", "c", done=1, total=100, unit="steps"))
    assert tally.time_left() == pytest.approx(99)  # c's own word counts more than its hint


def test_reused_stages_teach_the_rate_and_failed_ones_do_not(clock):
    tally = Tally(clock)
    for key in "abc":
        tally.see(event("planned", key))
    tally.see(event("reused", "a", seconds=5))
    assert tally.time_left() == pytest.approx(10)
    tally.see(event("started", "b"))
    tally.see(event("failed", "b", seconds=1000))
    tally.see(event("skipped", "c"))
    assert tally.time_left() == 0
    assert (tally.n_done, tally.n_planned, tally.n_reused) == (3, 3, 1)


def test_the_rate_starts_with_the_first_report_and_anew_with_each_phase(clock):
    tally = Tally(clock)
    tally.see(event("started", "a"))
    stage = tally.running["a"]
    clock.now += 50  # imports
    tally.see(event("progress", "a", done=10, total=100, unit="steps"))
    assert math.isnan(stage.rate(clock.now))
    clock.now += 10
    tally.see(event("progress", "a", done=40, total=100, unit="steps"))
    assert stage.rate(clock.now) == 3
    assert stage.time_left(clock.now) == 20
    tally.see(event("progress", "a", done=0, total=7, unit="prompts"))
    assert math.isnan(stage.rate(clock.now))
    assert math.isnan(stage.time_left(clock.now))
    clock.now += 2
    tally.see(event("progress", "a", done=4, total=7, unit="prompts"))
    tally.see(event("progress", "a", done=1, total=7, unit="prompts"))  # the next seven
    clock.now += 2
    tally.see(event("progress", "a", done=3, total=7, unit="prompts"))
    assert stage.rate(clock.now) == 1


def plain(clock):
    return LiveView(console=Console(file=io.StringIO(), width=200), clock=clock)


def test_without_a_terminal_each_stage_is_a_line_and_progress_is_rare(clock):
    with plain(clock) as view:
        for key in "abcd":
            view(event("planned", key))
        view(event("reused", "a", seconds=9))
        view(event("damaged", "b", message="damaged: x in b; rebuilding"))
        view(event("started", "b", label="proxy [w16] :smile:"))
        for step in range(1, 71):  # a report a second
            clock.now += 1
            view(event("progress", "b", label="proxy [w16] :smile:", done=step, total=100, unit="steps"))
        view(event("started", "b", label="b", message="its worker was killed; trying once more, alone"))
        view(event("failed", "b", seconds=75, message="out of luck"))
        view(event("skipped", "c", message="b failed"))
        view(event("started", "d"))
        view(event("finished", "d", seconds=1.25))
    assert view._console.file.getvalue().splitlines() == [
        "damaged: x in b; rebuilding",
        "1 of 4 stages are done already",
        "[1/4] started proxy [w16] :smile:",
        "proxy [w16] :smile:: 30/100 steps, 1 steps/s, 1:10 left",
        "proxy [w16] :smile:: 60/100 steps, 1 steps/s, 40.0 s left",
        "[1/4] started b again: its worker was killed; trying once more, alone",
        "[2/4] failed b after 1:15: out of luck",
        "[3/4] skipped c: b failed",
        "[3/4] started d",
        "[4/4] finished d in 1.2 s",
    ]


def test_a_stage_of_unknown_length_is_shown_without_an_end(clock):
    with plain(clock) as view:
        view(event("planned", "a"))
        view(event("started", "a"))
        clock.now += 40
        view(event("progress", "a", done=12345, unit="replies"))
    assert view._console.file.getvalue().splitlines()[-1] == "a: 12,345 replies"


def test_on_a_terminal_bars_show_the_whole_and_each_running_stage(clock):
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    view = LiveView("chitchat", console=console, clock=clock)
    for key in "ab":
        view(event("planned", key))
    view(event("started", "a", label="proxy [w16]"))
    clock.now += 5
    view(event("progress", "a", done=0, total=1200, unit="steps"))
    clock.now += 10
    view(event("progress", "a", done=300, total=1200, unit="steps"))
    with console.capture() as captured:
        console.print(view._picture())
    first, second = captured.get().splitlines()
    assert "chitchat" in first
    assert "0/2 stages" in first
    assert "15.0 s" in first
    assert second.split() == ["proxy", "[w16]", "300/1,200", "steps", "30", "steps/s", "30.0", "s", "left"]


@pytest.mark.parametrize(("n_running", "n_shown"), [(9, 9), (10, 8), (300, 8)])
def test_the_picture_has_no_more_lines_than_the_terminal(clock, n_running, n_shown):
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=10, color_system=None)
    view = LiveView("chitchat", console=console, clock=clock)
    for number in range(n_running):
        view(event("started", str(number), label=f"stage-{number}"))
    with console.capture() as captured:
        console.print(view._picture())
    lines = captured.get().splitlines()
    assert len(lines) == 10
    assert sum("stage-" in line for line in lines) == n_shown
    assert "stage-0" in lines[1]  # the oldest stay
    assert n_shown == n_running or lines[-1].split() == ["and", str(n_running - 8), "more", "running"]


def test_several_failures_are_listed_at_the_end_with_their_logs(clock):
    with plain(clock) as view:
        for key in "abc":
            view(event("failed", key, message=f"no {key}", log=f"store/{key}.log"))
            view(event("finished", key + "2"))
    said = view._console.file.getvalue().splitlines()
    assert said[-7:] == [
        "3 stages failed:",
        *(line for key in "abc" for line in (f"  {key}: no {key}", f"    store/{key}.log")),
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_run_can_be_watched(tmp_path, terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    stages = [Stage(toy.report, steps=200, label="counting"), Stage(toy.write, text="x")]
    with LiveView(console=console) as view:
        run(stages, Store(tmp_path), workers=0, events=view)
    text = console.file.getvalue()
    assert "2/2" in text
    assert ("finished counting" in text) is not terminal


def test_rich_is_loaded_by_those_who_watch_only():
    heavy = "rich numpy polars torch"
    code = f"import sys, overopt.workflow.progress as p; print(set('{heavy}'.split()) & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
