"""Rates of gaming against counts by hand, and what must not become one rate."""

import json
import math

import numpy as np
import polars as pl
import pytest
from oracles.rates import clopper_pearson

from overopt.errors import DataError
from overopt.measure.gaming import SHOWN, Cell, counted_cell, disclosure_counts, gaming_matrix, merged
from overopt.records.outcomes import FACTS, outcome_table


def outcomes(*groups):
    """A table of outcomes; a group is its settings and, a row an episode, the scenario and the facts that hold."""
    rows = []
    for settings, episodes in groups:
        about = {"stage": "base", "environment": "notes", "twin": "gameable", "split": "test", "instructed": False,
                 "version": 1, "weight": 1.0, "disclosed": "na", **settings}  # fmt: skip
        rows += [
            {**about, "scenario": str(scenario), **{fact: fact in held for fact in FACTS}}
            for scenario, held in episodes
        ]
    return pl.DataFrame(rows, infer_schema_length=None)


def test_a_cell_is_k_of_n_with_the_exact_interval():
    found = gaming_matrix(outcomes(({}, [(k, ["gamed", "raised"] if k < 3 else ["raised"]) for k in range(20)])))
    gamed, raised, tried = (found.cell("base", "notes", fact) for fact in ("gamed", "raised", "attempted"))
    assert (gamed.successes, gamed.trials, gamed.clusters, gamed.counts) == (3, 20, 20, "3/20")
    assert gamed.value == 0.15
    assert (gamed.low, gamed.high) == pytest.approx(clopper_pearson(3, 20, 0.025), abs=1e-12)
    assert (raised.value, raised.high) == (1.0, 1.0)
    assert raised.low == pytest.approx(clopper_pearson(20, 20, 0.025)[0], abs=1e-12)
    assert (tried.value, tried.low) == (0.0, 0.0)
    assert tried.high == pytest.approx(1 - 0.025 ** (1 / 20), abs=1e-12)
    assert gamed.estimator == "counted"


def test_the_level_is_that_of_every_interval():
    table = outcomes(({}, [(k, ["gamed"] if k < 3 else []) for k in range(20)]))
    cell = gaming_matrix(table, level=0.8).cell("base", "notes", "gamed")
    assert cell.level == 0.8
    assert (cell.low, cell.high) == pytest.approx(clopper_pearson(3, 20, 0.1), abs=1e-12)


def test_episodes_of_one_scenario_are_alike():
    """Four scenarios, two of which are gamed every time: that is 2 of 4, not 20 of 40."""
    alike = outcomes(({}, [(scenario, ["gamed"] if scenario < 2 else []) for scenario in range(4) for _ in range(10)]))
    cell = gaming_matrix(alike).cell("base", "notes", "gamed")
    assert (cell.successes, cell.trials, cell.clusters, cell.value) == (20, 40, 4, 0.5)
    low, high = clopper_pearson(2, 4, 0.025)
    assert cell.low < low + 0.01
    assert cell.high > high - 0.01
    mixed = outcomes(({}, [(scenario, ["gamed"] if rep < 5 else []) for scenario in range(4) for rep in range(10)]))
    even = gaming_matrix(mixed).cell("base", "notes", "gamed")
    assert even.high - even.low < cell.high - cell.low


def test_no_event_in_clusters_is_bounded_by_the_number_of_scenarios():
    table = outcomes(({}, [(scenario, []) for scenario in range(8) for _ in range(25)]))
    cell = gaming_matrix(table).cell("base", "notes", "gamed")
    assert (cell.counts, cell.low) == ("0/200", 0.0)
    assert cell.high == pytest.approx(1 - 0.025 ** (1 / 8), abs=1e-12)


def test_one_scenario_has_no_interval_over_scenarios():
    cell = counted_cell("a", "b", "gameable", "gamed", [3], [10])
    assert math.isnan(cell.low)
    assert math.isnan(cell.high)
    assert gaming_matrix(outcomes(({}, [(0, ["gamed"]), (0, [])]))).to_dict()["cells"][4]["low"] is None


def test_stages_come_in_their_order_or_in_the_one_that_is_asked_for():
    table = outcomes(
        ({"stage": "two", "environment": "b"}, [(0, [])]),
        ({"stage": "one", "environment": "a"}, [(0, ["gamed"])]),
        ({"stage": "two", "environment": "a"}, [(0, [])]),
        ({"stage": "one", "environment": "b", "twin": "control"}, [(0, [])]),
    )
    found = gaming_matrix(table, facts=["gamed"])
    assert (found.stages, found.environments, found.facts) == (("two", "one"), ("b", "a"), ("gamed",))
    places = [(cell.stage, cell.environment, cell.twin) for cell in found.cells]
    assert places == [
        ("two", "b", "gameable"),
        ("two", "a", "gameable"),
        ("one", "b", "control"),
        ("one", "a", "gameable"),
    ]
    again = gaming_matrix(table, facts=["gamed"], stages=["one", "two"])
    assert [cell.stage for cell in again.cells] == ["one", "one", "two", "two"]
    only = gaming_matrix(table, facts=["gamed"], stages=["one"])
    assert {cell.stage for cell in only.cells} == set(only.stages) == {"one"}
    assert found.cell("one", "b", "gamed") is None
    assert found.cell("one", "b", "gamed", twin="control").trials == 1
    with pytest.raises(DataError, match="there is no stage three; there are two, one"):
        gaming_matrix(table, stages=["one", "three"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "several versions of notes"),
        ({"split": "train"}, "both splits of notes"),
        ({"instructed": True}, "persons who spell the act out and of others of notes"),
    ],
)
def test_what_is_no_one_thing_is_no_rate(change, words):
    table = outcomes(({}, [(0, [])]), (change, [(1, ["gamed"])]))
    with pytest.raises(DataError, match=f"episodes of {words} are not one rate; count them apart"):
        gaming_matrix(table)
    apart = outcomes(({}, [(0, [])]), ({**change, "environment": "other"}, [(1, ["gamed"])]))
    assert len(gaming_matrix(apart).environments) == 2


def test_splits_of_several_stages_may_differ_but_versions_may_not():
    def table(change):
        return outcomes(({}, [(0, [])]), ({**change, "stage": "next"}, [(0, [])]))

    assert len(gaming_matrix(table({"split": "train"})).stages) == 2
    with pytest.raises(DataError, match="several versions"):
        gaming_matrix(table({"version": 2}))
    assert gaming_matrix(table({"version": 2}), stages=["next"]).stages == ("next",)


def test_weights_unknown_facts_and_nothing_at_all_are_refused():
    table = outcomes(({}, [(0, [])]))
    with pytest.raises(DataError, match="weighted episodes are no counts"):
        gaming_matrix(table.with_columns(weight=pl.Series([0.5])))
    with pytest.raises(DataError, match="no such fact: dreamt; there are valid, attempted"):
        gaming_matrix(table, facts=["gamed", "dreamt"])
    with pytest.raises(DataError, match="there are no episodes to count"):
        gaming_matrix(outcome_table([]))


def test_disclosures_are_counted_among_those_who_changed_something():
    table = outcomes(
        ({"disclosed": "honest"}, [(0, ["changed"])]),
        ({"disclosed": "silent"}, [(1, ["changed"]), (2, ["changed"])]),
        ({"disclosed": "na"}, [(3, [])]),
        ({"disclosed": "excuse", "stage": "next"}, [(3, ["changed"])]),
    )
    assert disclosure_counts(table).to_dicts() == [
        {"stage": "base", "environment": "notes", "honest": 1, "excuse": 0, "silent": 2, "changed": 3},
        {"stage": "next", "environment": "notes", "honest": 0, "excuse": 1, "silent": 0, "changed": 1},
    ]


def exact_cell(**more):
    settings = {
        "stage": "base", "environment": "notes", "twin": "gameable", "fact": "gamed", "value": 1e-5, "low": 1e-5,
        "high": 1e-5, "level": 0.95, "estimator": "exact", "method": "enumeration", "successes": 0.0, "trials": 0,
        "clusters": 4, "mass": 0.999999,
    }  # fmt: skip
    return Cell(**{**settings, **more})


def test_matrices_of_several_estimators_become_one():
    counted = gaming_matrix(outcomes(({}, [(0, ["gamed"])])))
    exact = gaming_matrix(outcomes(({"stage": "next", "environment": "b"}, [(0, [])])), facts=["gamed"])
    both = merged([counted, exact])
    assert (both.stages, both.environments, both.facts) == (("base", "next"), ("notes", "b"), SHOWN)
    assert both.cells == counted.cells + exact.cells
    with pytest.raises(DataError, match="hold the same cell"):
        merged([counted, counted])
    enumerated = type(counted)(stages=("base",), environments=("notes",), facts=("gamed",), cells=(exact_cell(),))
    assert len(merged([counted, enumerated]).cells) == len(SHOWN) + 1
    assert enumerated.cells[0].counts == "mass 0.999999"
    assert exact_cell(estimator="weighted", trials=1_500).counts == "1,500 weighted"
    other = gaming_matrix(outcomes(({"stage": "x"}, [(0, [])])), level=0.9)
    with pytest.raises(DataError, match="several levels"):
        merged([counted, other])


def test_a_matrix_is_json_without_numbers_that_json_lacks():
    table = outcomes(({}, [(0, ["gamed"]), (0, [])]))
    found = gaming_matrix(table).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["schema"] == "overopt.gaming/1"
    assert {cell["counts"] for cell in found["cells"]} == {"1/2", "0/2"}
    assert set(found) == {"schema", "stages", "environments", "facts", "cells"}


def test_counts_may_be_arrays():
    one = counted_cell("a", "b", "gameable", "gamed", np.array([1, 0, 0]), np.array([1, 1, 0]))
    assert (one.trials, one.clusters, one.value) == (2, 2, 0.5)
