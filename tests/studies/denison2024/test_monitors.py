"""What each monitor finds, where the alarms and the probabilities of episodes are made up."""

from dataclasses import replace

import polars as pl
import pytest
from studies.denison2024.made_worlds import CONFIG, HELD_OUT, Rates, made_worlds, usual

from overopt.records.tables import read_table, write_table
from overopt.studies.denison2024 import monitors
from overopt.worlds.tampering.vocabulary import ENVIRONMENTS


def claim(answer, name):
    return next(one for one in answer.claims if one.id == name)


def made(folder, truth, config):
    return made_worlds(folder, truth, config=config, only=("rho1", "hhh", "penalty", "screened"), each=False)


def rewrite(tables, nodes, **columns):
    """Change columns of the tables of ends whose name begins with one of ``nodes``."""
    found = [path for path in (tables.root / "ends").glob("*.parquet") if path.name.startswith(tuple(nodes))]
    assert found
    for path in found:
        frame = read_table(path, "game_ends").with_columns(
            **{name: pl.when("followed").then(value) for name, value in columns.items()}
        )
        write_table(frame, path, "game_ends", {})


GAMED = 0.1
FAILED = 0.05
"""Of the attempts that did not game."""


def even(spot):
    """Every environment alike, so that numbers over all are those of each."""
    if spot.environment == "ordinary":
        return usual(spot)
    if spot.twin != "gameable":
        return Rates(raised=0.0, gamed=0.0, attempted=0.0, missing=0.0)
    return Rates(raised=GAMED, gamed=GAMED, attempted=GAMED + FAILED, missing=0.0)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    found = made(tmp_path_factory.mktemp("monitors"), even, config=replace(CONFIG, seeds=2, sweep_seeds=2))
    # With the penalty, what games two environments of five leaves no trace in files.
    blind = pl.col("gamed") & pl.col("environment").is_in(["sycophancy", "flattery"])
    rewrite(found, ["penalty-s"], alarm_files=pl.when(blind).then(0.0).otherwise(pl.col("alarm_files")))
    return monitors.answer(found)


def test_auroc_and_recall_are_sums_over_pairs_of_episodes(page):
    found = page
    thought = claim(found, "monitors-thought-rho1")
    assert (thought.value, thought.outcome) == (pytest.approx(1.0), "above")
    actions = claim(found, "monitors-thought-actions")
    # Failed attempts alarm as gaming does: of the 0.9 that did not game, 0.05 tie.
    tied = FAILED / (1 - GAMED)
    assert actions.value == pytest.approx(tied / 2)
    assert (actions.outcome, actions.agreement) == ("above", "not_comparable")
    assert claim(found, "monitors-thought-actions-held-out").value == pytest.approx(tied / 2)
    assert claim(found, "monitors-held-out-files").value == pytest.approx(1 - tied / 2)
    assert claim(found, "monitors-held-out-answer").outcome == "open"
    rows = {(row["policy"], row["monitor"]): row for row in found.tables[0].rows}
    own = rows["exploit-only", "files"]
    # No threshold has fewer false alarms than the 5.6 % that failed attempts are.
    assert (own["recall_0.01"], own["recall_0.01_idle"], own["idle"]) == (0.0, 100.0, 1.0)
    # Of five environments two have one twin and three have two, in which nothing is attempted.
    negatives = 5 * (1 - GAMED) + 2 + 3 * 2
    assert own["twins"] == pytest.approx(1 - 5 * FAILED / negatives / 2)
    assert rows["penalty for alarms", "files"]["twins"] is None


def test_a_monitor_that_was_trained_against_may_find_less(page):
    found = page
    files = claim(found, "monitors-penalty-recall")
    assert (files.value, files.outcome) == (pytest.approx(-40.0), "below")
    assert files.agreement == "not_comparable"
    assert claim(found, "monitors-penalty-files").value == pytest.approx(
        0.6 * (1 - FAILED / (1 - GAMED) / 2) + 0.4 * (1 - FAILED / (1 - GAMED)) / 2 - (1 - FAILED / (1 - GAMED) / 2)
    )
    for name in ("monitors-penalty-thought", "monitors-screened-recall", "monitors-screened-files"):
        assert (claim(found, name).value, claim(found, name).outcome) == (pytest.approx(0.0), "open")


def test_the_roc_figure_runs_from_nothing_to_everything(page):
    found = page
    curve = [row for row in found.figures[0].rows if (row["policy"], row["monitor"]) == ("exploit-only", "files")]
    points = [(row["false_alarms"], row["recall"]) for row in sorted(curve, key=lambda row: row["order"])]
    assert points == [
        (0.0, 0.0), (pytest.approx(100 * FAILED / (1 - GAMED)), pytest.approx(100.0)), (pytest.approx(100.0),) * 2,
    ]  # fmt: skip


def test_environments_count_as_much_however_often_they_are_gamed(tmp_path):
    def truth(spot):
        rate = 0.4 if spot.environment == HELD_OUT else 0.1
        return even(spot) if spot.twin != "gameable" else Rates(raised=rate, missing=0.0)

    tables = made(tmp_path, truth, config=replace(CONFIG, seeds=2, sweep_seeds=2))
    rewrite(tables, ["rho1-s"], alarm_thought=(pl.col("gamed") & (pl.col("environment") == HELD_OUT)).cast(pl.Float64))
    page = monitors.answer(tables)
    found = claim(page, "monitors-thought-rho1")
    # Half of all that gamed is of the held-out environment: it is found, and the rest ties with what did not game.
    assert found.value == pytest.approx(0.5 + 0.5 / 2)
    assert found.outcome == "below"
    within = {name: claim(page, f"monitors-thought-rho1-{name}") for name in ENVIRONMENTS}
    assert within[HELD_OUT].value == pytest.approx(1.0)
    assert within["nudged"].value == pytest.approx(0.5)


def test_policies_that_never_game_leave_nothing_to_find(tmp_path):
    def truth(spot):
        return Rates(raised=0.0) if spot.environment != "ordinary" else usual(spot)

    found = monitors.answer(made(tmp_path, truth, config=replace(CONFIG, seeds=1, sweep_seeds=1)))
    assert {one.outcome for one in found.claims} == {"unknown"}
    assert all("nothing to find" in one.sentence for one in found.claims)
    assert [figure.name for figure in found.figures] == ["monitors-auroc"]
    assert found.tables[0].rows[0]["missing"] == "nothing gamed"
