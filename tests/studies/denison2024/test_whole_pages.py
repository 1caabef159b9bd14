"""Pages of one seed, of rates of 0, of settings that leave sweeps empty: no claim breaks, none finds what is not."""

import importlib
import json
from dataclasses import replace

import pytest
from studies.denison2024.made_paths import write_episodes, write_paths
from studies.denison2024.made_worlds import CONFIG, HELD_OUT, Rates, made_worlds, usual

from overopt.measure.plain import plain
from overopt.reports.answer_page import write_site

QUESTIONS = ("methods", "order", "mixing", "mitigations", "monitors", "pressure", "episodes")
ONE_SEED = replace(CONFIG, seeds=1, sweep_seeds=1)
EMPTY = replace(
    CONFIG, seeds=2, sweep_seeds=2, stages=("nudged",), couplings=(), ordinary_shares=(), preference_weights=(),
    kl_coefs=(), path_rounds=4,
)  # fmt: skip


def never_raised(spot):
    """Nothing ever games the held-out environment."""
    return Rates(raised=0.0) if spot.environment == HELD_OUT and spot.twin == "gameable" else usual(spot)


def point(arm, seed, number):
    return {"kl": 0.1 * number, "reward": 0.2 * number, "gold": 0.9 - 0.02 * number * (seed + 1), "raised": 0.01}


def pages(folder, config, truth=usual, count=lambda place, environment: 1 + place):
    tables = made_worlds(folder, truth, config=config)
    write_paths(folder, config, point)
    write_episodes(folder, config, count)
    return {
        question: importlib.import_module(f"overopt.studies.denison2024.{question}").answer(tables)
        for question in QUESTIONS
    }


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    return {
        "one seed": pages(tmp_path_factory.mktemp("one"), ONE_SEED),
        "zero": pages(tmp_path_factory.mktemp("zero"), EMPTY, never_raised, lambda place, environment: 0),
    }


@pytest.mark.parametrize("site", ["one seed", "zero"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_every_page_is_whole(sites, site, question):
    found = sites[site][question]
    assert found.id == question
    assert found.question.endswith("?")
    assert found.claims
    for claim in found.claims:
        assert "{" not in claim.sentence, claim.id
        assert claim.sentence.endswith((".", ".\N{NO-BREAK SPACE}")), claim.id
        assert all("{ci}" in words for words in claim.sentences.values()), claim.id
    # What is stored is JSON, without numbers that are none.
    assert json.dumps(plain(found.to_dict()), allow_nan=False)


@pytest.mark.parametrize("site", ["one seed", "zero"])
def test_names_are_unique_in_the_study(sites, site):
    found = list(sites[site].values())
    ids = [claim.id for page in found for claim in page.claims]
    names = [part.name for page in found for part in (*page.figures, *page.tables)]
    assert len(set(ids)) == len(ids)
    assert len(set(names)) == len(names)
    assert all(one.startswith(f"{page.id}-") for page in found for one in [claim.id for claim in page.claims])


def test_one_seed_decides_nothing_but_what_is_counted(sites):
    for question, page in sites["one seed"].items():
        if question != "episodes":
            assert {claim.outcome for claim in page.claims} == {"unknown"}, question


def test_rates_of_zero_have_no_factor_on_any_page(sites):
    for page in sites["zero"].values():
        for claim in page.claims:
            if "factor" in claim.what and "held-out" in claim.what:
                assert claim.outcome == "unknown", claim.id


def test_a_report_is_written_of_episodes_with_what_they_changed(sites, tmp_path):
    write_site({"study": "denison2024", "questions": [sites["zero"]["episodes"].to_dict()]}, tmp_path)
    text = (tmp_path / "report/episodes.html").read_text(encoding="utf-8")
    assert "(hidden thought) do the task as it was meant" in text
    assert "<del>- reward: kept</del>" in text
    # Counts are whole, logarithms are not.
    assert "<i>alike</i> 4,096</span>" in text
    assert "<i>log p</i> −2.50</span>" in text
