"""What the question of the number of pairs finds in made-up studies whose grid is known."""

import json
import math

import numpy as np
import pytest

from gao2022.made_tables import ProxyTruth, Truth, made_study, varied
from overopt.studies.gao2022 import data

FOUR = ("chitchat-w8", "chitchat-w16", "chitchat-w32", "chitchat-w64")
PARTS = ("sizes", "data")


def _grid(tmp_path, proxy, **settings):
    wanted = {"data_proxies": FOUR, "fewer_pairs": (250, 1_000, 2_000)} | settings
    return made_study(tmp_path, varied(Truth(proxy=proxy, seed=2), **wanted), parts=PARTS)


def _claims(tables):
    return {claim.id: claim for claim in data.answer(tables).claims}


def _by_pairs(parameters, pairs, kind, seed):
    return ProxyTruth(alpha=0.25 + 0.15 * math.log10(pairs / 250), beta=0.12)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Alpha rises by 0.15 for ten times the pairs, whatever the size."""
    return _grid(tmp_path_factory.mktemp("grid"), _by_pairs)


def test_more_pairs_give_more_gold_and_the_slope_of_alpha_holds_the_truth(grid):
    claims = _claims(grid)
    assert claims["data-gold"].agreement == "agrees"
    low, high = claims["data-alpha"].ci
    assert low <= 0.15 <= high
    assert claims["data-alpha"].outcome == "above"
    low, high = claims["data-beta"].ci
    assert low <= 0 <= high


def test_fewer_pairs_that_give_more_gold_differ_from_the_paper(tmp_path):
    def proxy(parameters, pairs, kind, seed):
        return ProxyTruth(alpha=0.6 - 0.15 * math.log10(pairs / 250), beta=0.14)

    claims = _claims(_grid(tmp_path, proxy))
    assert claims["data-gold"].agreement == "differs"
    assert claims["data-alpha"].outcome == "below"


def test_proxies_of_few_pairs_are_near_chance_only_if_they_are(grid, tmp_path):
    def proxy(parameters, pairs, kind, seed):
        return ProxyTruth(alpha=0.0, beta=0.0) if pairs < 2_000 else ProxyTruth(alpha=0.5, beta=0.15)

    at_chance = _claims(_grid(tmp_path, proxy))["data-chance"]
    assert (at_chance.outcome, at_chance.agreement) == ("equal", "agrees")
    above = _claims(grid)["data-chance"]
    assert (above.outcome, above.agreement) == ("above", "differs")
    hits = [
        (frame["score_chosen"] > frame["score_rejected"]).mean()
        for proxy in grid.proxies()
        if proxy.pairs < 2_000
        for frame in (proxy.pair_scores,)
    ]
    assert above.value == pytest.approx(np.mean(hits) - 0.5)


def test_size_that_matters_only_through_the_loss_is_told_from_size_that_matters_beside_it(grid, tmp_path):
    def proxy(parameters, pairs, kind, seed):
        more = min(1.2, math.log10(parameters / 18_000))
        return ProxyTruth(alpha=0.33 + 0.08 * math.log10(pairs / 250), beta=0.2 - 0.08 * more)

    low, high = _claims(grid)["data-equal-loss"].ci
    assert low <= 0 <= high
    besides = _claims(_grid(tmp_path, proxy, pool=512))["data-equal-loss"]
    assert (besides.outcome, besides.agreement) == ("above", "differs")


def test_gold_at_equal_loss_is_a_regression_over_the_cells(grid):
    found = data.answer(grid)
    rows = found.tables[0].rows
    assert len(rows) == 16
    loss = np.array([row["loss"] for row in rows])
    size = np.log10([row["parameters"] for row in rows])
    columns = np.stack([np.ones(16), loss, loss**2, size], axis=1)
    solution, *_ = np.linalg.lstsq(columns, np.array([row["gold"] for row in rows]), rcond=None)
    claim = next(claim for claim in found.claims if claim.id == "data-equal-loss")
    assert claim.value == pytest.approx(solution[3], rel=1e-6)


def test_the_fitted_maximum_is_the_peak_of_the_law_where_it_turns_inside_the_data(tmp_path):
    tables = _grid(tmp_path, lambda *_: ProxyTruth(alpha=0.4, beta=0.2), prompts=128, pool=512)
    found = [row["maximum"] for row in data.answer(tables).tables[0].rows]
    assert np.mean(found) == pytest.approx(0.4**2 / (4 * 0.2), abs=0.04)


def test_a_grid_too_small_claims_nothing(tmp_path):
    tables = _grid(
        tmp_path, _by_pairs, data_proxies=FOUR[:2], fewer_pairs=(2_000,), prompts=3, pool=8, large_prompts=2
    )  # fmt: skip
    found = data.answer(tables)
    assert {claim.outcome for claim in found.claims} == {"unknown"}
    json.dumps(found.to_dict(), allow_nan=False)


def test_without_the_grid_nothing_is_claimed(tmp_path):
    found = data.answer(made_study(tmp_path, varied(prompts=8, pool=8), parts=("epochs",)))
    assert {claim.outcome for claim in found.claims} == {"unknown"}
    assert not found.figures
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_pairs_behind_the_trends_of_coefficients_are_named_size_by_size(grid):
    caveat = data.answer(grid).caveats[-1]
    used = {}
    for row in data.answer(grid).figures[-1].rows:
        if row["coefficient"] == "α":
            used.setdefault(row["parameters"], []).append(row["pairs"])
    spans = {f"{min(pairs):,} to {max(pairs):,}" for pairs in used.values() if len(pairs) > 1}
    assert spans
    assert all(span in caveat for span in spans)
