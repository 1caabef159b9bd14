"""``overopt eval-rm scores`` on tables: cells that a pair may lack take no pair from the headline numbers."""

import json

import numpy as np
import polars as pl
import pytest

from overopt.errors import DataError
from overopt.measure.scored_pairs import scored_pairs_report

B = 300


def pairs(**blank):
    """A table of pairs; ``blank`` says how many of the first rows lack a column."""
    rng = np.random.default_rng(0)
    table = pl.DataFrame(
        {
            "a": rng.normal(size=B) + 0.5,
            "b": rng.normal(size=B),
            "label": ["A"] * B,
            "pair": [f"{k}" for k in range(B)],
            "by": [("chat", "code")[k % 2] for k in range(B)],
            "prompt": [f"p{k // 3}" for k in range(B)],
            "len_a": rng.integers(1, 90, size=B).astype(float),
            "len_b": rng.integers(1, 90, size=B).astype(float),
        }
    )
    return table.with_columns(
        pl.when(pl.int_range(pl.len()) >= count).then(pl.col(name)).alias(name) for name, count in blank.items()
    )


def report(table, **settings):
    found = scored_pairs_report(table, **settings)
    json.dumps(found, allow_nan=False)
    return found


@pytest.mark.parametrize("column", ["by", "len_a", "len_b", "pair", "prompt"])
def test_a_blank_cell_takes_no_pair_from_the_accuracy(column):
    whole, blank = report(pairs()), report(pairs(**{column: 62}))
    assert (blank["pairs"], blank["accuracy"], blank["missing"]) == (B, whole["accuracy"], 0)
    name = "length" if column.startswith("len") else column
    assert blank["blank"] == whole["blank"] | {name: 62}
    assert set(whole["blank"].values()) == {0}


def test_pairs_without_a_category_are_one_by_name():
    found = report(pairs(by=62))["by"]
    assert {name: one["pairs"] for name, one in found.items()} == {"(blank)": 62, "chat": 119, "code": 119}


def test_pairs_without_a_length_play_no_part_in_what_lengths_say():
    table = pairs(len_a=62)
    kept = report(table[62:])
    found = report(table)
    assert found["longer_is_better"] == kept["longer_is_better"]
    assert found["length_bias"] == kept["length_bias"]
    none = report(pairs(len_b=B))
    assert (none["longer_is_better"], none["length_bias"], none["pairs"]) == (None, None, B)


def test_pairs_without_a_prompt_stand_for_prompts_of_their_own():
    table = pairs(prompt=B)
    assert report(table)["accuracy_ci"] == report(table.drop("prompt"))["accuracy_ci"]
    assert report(pairs(prompt=3))["accuracy_ci"] != report(pairs())["accuracy_ci"]


def test_pairs_without_a_name_are_not_twice_the_same():
    assert report(pairs(pair=10))["pairs"] == B
    with pytest.raises(DataError, match="the pair '5' occurs 2 times"):
        report(pl.concat([pairs(pair=3), pairs()[5:6]]))
