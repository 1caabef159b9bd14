"""The pages of a gaming matrix say its numbers, all of them, with what they are about."""

import json

import pytest

from overopt.envs.actors import Script
from overopt.envs.episode_file import episode_record
from overopt.envs.registry import environment
from overopt.envs.runner import run_episodes
from overopt.measure.gaming import gaming_matrix
from overopt.measure.gaming_answers import PANELS, gaming_answers, percent
from overopt.measure.plain import plain
from overopt.records.outcomes import outcome_table
from overopt.reports.answer_page import write_site

ENVIRONMENT = environment("reward-tampering")


def played(persona, n=6, **options):
    stage = options.pop("stage", None)
    return run_episodes(ENVIRONMENT, Script(ENVIRONMENT, persona, stage=stage), ENVIRONMENT.scenarios(n, **options))


@pytest.fixture(scope="module")
def outcomes():
    found = [
        *played("gamer", stage="after sft: 2/3"),
        *played("discloser", n=2, seed=1, stage="after sft: 2/3"),
        *played("honest", n=40, stage="base"),
        *played("gamer", twin="control", stage="base"),
        *played("honest", twin="legitimate", stage="base"),
    ]
    return outcome_table(map(episode_record, found))


@pytest.fixture(scope="module")
def answers(outcomes):
    return gaming_answers(outcomes)


def test_there_is_a_page_for_the_matrix_and_one_for_the_twins(answers, outcomes):
    assert [answer.id for answer in answers] == ["matrix", "twins"]
    import polars as pl

    for twins, ids in ((["gameable"], ["matrix"]), (["control"], ["twins"])):
        assert [one.id for one in gaming_answers(outcomes.filter(pl.col("twin").is_in(twins)))] == ids


def test_every_number_of_a_page_is_one_of_the_matrix(answers, outcomes):
    matrix = gaming_matrix(outcomes)
    page, twins = answers
    (figure,) = page.figures
    gameable = [cell for cell in matrix.cells if cell.twin == "gameable"]
    by_place = {(row["panel"], row["stage"], row["environment"]): row for row in figure.rows}
    assert len(by_place) == len(figure.rows) == len(PANELS) * 2
    for cell in gameable:
        if cell.fact in PANELS:
            row = by_place[PANELS[cell.fact], cell.stage, cell.environment]
            assert (row["rate (%)"], row["low"], row["high"]) == (100 * cell.value, 100 * cell.low, 100 * cell.high)
            assert row["counts"] == cell.counts
            assert row["written"] == f"{cell.counts}\n{percent(cell.value, cell.low, cell.high)}"
    for answer, cells in ((page, gameable), (twins, [cell for cell in matrix.cells if cell.twin != "gameable"])):
        rows = answer.tables[0].rows
        assert len(rows) == len(cells)
        for row, cell in zip(rows, cells, strict=True):
            assert (row["stage"], row["twin"], row["fact"]) == (cell.stage, cell.twin, cell.fact)
            assert (row["counts"], row["rate"]) == (cell.counts, 100 * cell.value)
            assert row["rate_ci"] == (100 * cell.low, 100 * cell.high)


def test_a_claim_says_a_rate_with_its_interval_and_its_counts(answers):
    games = {claim.id: claim for claim in answers[0].claims}
    assert set(games) == {"gamed-gameable-reward-tampering-1-after-sft-2-3", "gamed-gameable-reward-tampering-2-base"}
    seen = games["gamed-gameable-reward-tampering-1-after-sft-2-3"]
    assert (seen.value, seen.outcome) == (100.0, "above")
    assert "(8/8)" in seen.sentence
    none = games["gamed-gameable-reward-tampering-2-base"]
    assert (none.value, none.ci[0], none.outcome) == (0.0, 0.0, "open")
    assert none.ci[1] == pytest.approx(100 * (1 - 0.025 ** (1 / 40)))
    assert none.counted == "0/40 episodes, 40 scenarios"
    assert "[0.0000, 8.8097]" in none.sentence


def test_claims_carry_the_level_that_was_asked_for(outcomes):
    for answer in gaming_answers(outcomes, level=0.8):
        assert {claim.level for claim in answer.claims} == {0.8}
    narrow = {claim.id: claim.ci for claim in gaming_answers(outcomes, level=0.8)[0].claims}
    wide = {claim.id: claim.ci for claim in gaming_answers(outcomes)[0].claims}
    assert all(narrow[name] != wide[name] for name in wide)


def test_how_changes_were_told_of_is_counted_for_the_stages_that_are_shown(answers, outcomes):
    (told,) = answers[0].tables[1:]
    assert told.rows == [
        {
            "stage": "after sft: 2/3",
            "environment": "reward-tampering",
            "honest": 2,
            "excuse": 0,
            "silent": 6,
            "changed": 8,
        }
    ]
    only = gaming_answers(outcomes, stages=["base"])[0]
    assert [table.name for table in only.tables] == ["matrix-rates"], "nobody changed anything there"


def test_stages_whose_names_differ_in_signs_alone_have_claims_of_their_own():
    found = [*played("gamer", stage="a b"), *played("honest", stage="a-b"), *played("honest", stage="a/b")]
    (page,) = gaming_answers(outcome_table(map(episode_record, found)))
    assert len({claim.id for claim in page.claims}) == 3


def test_every_page_says_what_its_numbers_are_about(answers):
    for answer in answers:
        assert answer.caveats[0].startswith("Constructed incentive, pathway not prevalence")
        assert answer.question.endswith("?")


def test_the_pages_can_be_written(answers, tmp_path):
    results = plain({"study": "tampering", "level": 0.95, "questions": [answer.to_dict() for answer in answers]})
    write_site(results, tmp_path)
    assert {path.name for path in (tmp_path / "report").glob("*.html")} == {"matrix.html", "twins.html"}
    page = (tmp_path / "report" / "matrix.html").read_text(encoding="utf-8")
    assert "8/8" in page
    assert "0/40" in page
    assert json.dumps(results, allow_nan=False)


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ((0.0, 0.0, 3.69e-05), "0 [0, 0.0037] %"),
        ((0.5, 0.41, 0.59), "50 [41, 59] %"),
        ((1.0, 0.9963, 1.0), "100 [99.6, 100] %"),
        ((0.99963, 0.994, 0.99999), "99.96 [99.4, 99.999] %"),
        ((0.015, 0.0102, 0.0999), "1.5 [1, 10] %"),
        ((0.499, 0.0, 1.0), "50 [0, 100] %"),
        ((0.3, None, float("nan")), "30 [?, ?] %"),
        ((None, None, None), "unknown"),
        ((float("nan"), 0.0, 1.0), "unknown"),
    ],
)
def test_percentages_have_the_digits_that_they_need(interval, words):
    assert percent(*interval) == words
