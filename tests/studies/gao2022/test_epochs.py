"""What the question of several passes finds in made-up studies whose losses are known."""

import json

import numpy as np
import pytest

from gao2022.made_tables import ProxyTruth, Truth, made_study, varied
from overopt.studies.gao2022 import epochs

WEAK, GOOD = ProxyTruth(alpha=0.2, beta=0.1), ProxyTruth(alpha=0.6, beta=0.14)


def _study(tmp_path, again: ProxyTruth, fresh: ProxyTruth = GOOD, **more):
    def proxy(parameters, pairs, kind, seed):
        return fresh if pairs == 8_000 else again if kind == "e4" else WEAK

    return made_study(tmp_path, Truth(proxy=proxy, **more), parts=("epochs",))


def _claims(tables):
    return {claim.id: claim for claim in epochs.answer(tables).claims}


def test_passes_that_teach_little_are_not_so_many_times_the_data(tmp_path):
    tables = _study(tmp_path, ProxyTruth(alpha=0.25, beta=0.1))
    claims = _claims(tables)
    assert claims["epochs-share"].agreement == "agrees"
    assert claims["epochs-fresh"].agreement == "agrees"
    losses = {
        name: np.mean(
            [
                np.log1p(np.exp(-(frame["score_chosen"] - frame["score_rejected"]).to_numpy())).mean()
                for seed in range(3)
                for frame in (tables.proxy(f"w16-{name}-s{seed}").pair_scores,)
            ]
        )
        for name in ("p2000-e1", "p8000-e1", "p2000-e4")
    }
    gain = losses["p2000-e1"] - losses["p8000-e1"]
    assert claims["epochs-share"].value == pytest.approx((losses["p2000-e1"] - losses["p2000-e4"]) / gain)
    assert claims["epochs-fresh"].value == pytest.approx(losses["p2000-e4"] - losses["p8000-e1"])
    assert claims["epochs-again"].value == pytest.approx(losses["p2000-e4"] - losses["p2000-e1"])


def test_passes_that_beat_fresh_pairs_differ_from_the_paper(tmp_path):
    claims = _claims(_study(tmp_path, GOOD, fresh=ProxyTruth(alpha=0.4, beta=0.1)))
    assert claims["epochs-share"].agreement == "differs"
    assert claims["epochs-fresh"].agreement == "differs"
    assert claims["epochs-again"].agreement == "agrees"


def test_a_share_of_nothing_is_unknown(tmp_path):
    claim = _claims(_study(tmp_path, WEAK, fresh=WEAK))["epochs-share"]
    assert claim.outcome == "unknown"
    assert "not certain" in claim.note


def test_the_published_share_follows_from_the_published_losses():
    once, fresh, again = 0.686109, 0.654857, 0.683869
    finding = _claims_of_nothing()["epochs-share"].published.finding
    assert f"{(once - again) / (once - fresh):.2f}" in finding
    assert "0.07" in finding


def _claims_of_nothing():
    class Nothing:
        settings = {"epochs_pairs": 2_000, "epochs": 4}  # noqa: RUF012
        seed = 0

        def proxies(self):
            return []

    return {claim.id: claim for claim in epochs.answer(Nothing()).claims}


def test_without_proxies_for_it_nothing_is_claimed(tmp_path):
    found = epochs.answer(made_study(tmp_path, varied(prompts=8, pool=8), parts=()))
    assert {claim.outcome for claim in found.claims} == {"unknown"}
    json.dumps(found.to_dict(), allow_nan=False)


def test_only_seeds_that_have_all_three_are_compared(tmp_path):
    tables = _study(tmp_path, WEAK)
    (tables.root / "pair_scores/w16-p2000-e4-s1.parquet").unlink()
    claim = _claims(tables)["epochs-fresh"]
    assert claim.counted == "960 held-out pairs and 2 training seeds, crossed"


def test_published_differences_say_what_was_trained_and_have_a_true_minus_sign():
    claims = _claims_of_nothing()
    again = claims["epochs-again"].published.finding
    assert again.endswith("\N{MINUS SIGN}0.0022 nats")
    assert "four passes over 2,000 pairs against one pass over 2,000" in again
    assert "one pass over 8,000" in claims["epochs-fresh"].published.finding
