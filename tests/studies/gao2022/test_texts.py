from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from gao2022.changed_tables import change, opened_again
from gao2022.made_tables import MadeStudy, RunTruth, Truth, varied
from overopt.studies.gao2022.texts import answer

STEPS = (0, 8, 16, 24, 32, 40)
WORDS = [f"w{k}" for k in range(40)]
RUN = RunTruth(
    steps=STEPS,
    kl=(0.0, 0.5, 1.5, 3.0, 5.0, 8.0),
    gold=(0.0, 0.6, 1.0, 0.6, 0.2, -0.4),
    proxy=(0.0, 0.4, 0.7, 0.9, 1.1, 1.3),
)


def usual(rng, prompt):
    """Six to ten words of forty, some of them twice, none of the prompt's."""
    return " ".join(rng.choice(WORDS, rng.integers(6, 11)))


def study(folder, late: Callable[[np.random.Generator, int], str], *, surprise=3.0, **more):
    """Base replies as ``usual``; those of runs as ``late`` says from step 24 on, gold peaking at step 16."""
    settings = {"proxies": ("chitchat-w8", "chitchat-w16"), "reference_proxy": "chitchat-w8", "pool": 64}
    settings |= {"seeded_proxy": "chitchat-w16", "proxy_seeds": 2, "data_proxies": ("chitchat-w8",), "prompts": 32}
    settings |= {"large_proxies": ("chitchat-w8",)}
    made = MadeStudy(folder, varied(Truth(run=lambda *_: RUN, gold_noise=0.2), **(settings | more)))
    made.sizes()
    rng = np.random.default_rng(5)

    def texts(frame):
        step = frame["step"].to_list() if "step" in frame.columns else [0] * frame.height
        rows = zip(step, frame["prompt_id"].to_list(), strict=True)
        made_up = [late(rng, prompt) if at >= 24 else usual(rng, prompt) for at, prompt in rows]
        length = np.array([len(text.split()) for text in made_up])
        nats = np.where(np.array(step) >= 24, surprise, 3.0) + 0.5 * rng.standard_normal(len(step))
        return {"completion": made_up, "length": length, "reference_logprob": -nats * length}

    change(made.root / "pools/pool.parquet", "samples", texts)
    for path in sorted((made.root / "rl").glob("*.parquet")):
        change(path, "rl_steps", texts)
    return opened_again(made.tables)


def claims(answer):
    return {claim.id.removeprefix("texts-"): claim for claim in answer.claims}


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory):
    """One reply for everybody, of one word said six times."""
    return answer(study(tmp_path_factory.mktemp("collapsed"), lambda *_: "so so so so so so", surprise=4.0))


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    return answer(study(tmp_path_factory.mktemp("unchanged"), usual, prompts=64))


def test_a_policy_that_says_one_thing_to_all_is_seen_by_every_feature(collapsed):
    found = claims(collapsed)
    assert found["repetition"].outcome == "above"
    assert found["identical"].outcome == "above"
    assert found["identical"].value == pytest.approx(1.0)
    assert found["distinct"].outcome == "below"
    assert found["words"].outcome == "below"
    assert found["surprise"].outcome == "above"


def test_effects_are_differences_over_the_sd_of_base_replies(collapsed, tmp_path):
    """Oracle: 5 of 6 words repeat; base replies are 6 to 10 draws of 40 words, repeats counted by simulation."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(6, 11, size=20_000).tolist()
    repeats = np.array([1 - len(set(rng.choice(40, size).tolist())) / size for size in sizes])
    expected = (5 / 6 - repeats.mean()) / repeats.std()
    assert claims(collapsed)["repetition"].value == pytest.approx(expected, rel=0.06)
    # A nat more at a spread of half a nat.
    assert claims(collapsed)["surprise"].value == pytest.approx(2.0, abs=0.15)


def test_replies_that_stay_as_they_were_are_called_unchanged(unchanged):
    found = claims(unchanged)
    assert {found[name].outcome for name in ("repetition", "identical", "distinct", "surprise")} == {"equal"}


def test_nothing_seen_among_few_prompts_is_no_proof_of_none(tmp_path):
    found = claims(answer(study(tmp_path, usual, prompts=8, large_prompts=2)))["identical"]
    assert found.value == 0
    assert found.ci == (pytest.approx(-3 / 8), pytest.approx(3 / 8))
    assert found.outcome == "open"


def test_a_smaller_vocabulary_is_found_at_equal_numbers_of_words(tmp_path):
    """Replies three times as long from ten words: plain distinct-1 would fall even with all forty."""
    found = claims(answer(study(tmp_path / "few", lambda rng, _: " ".join(rng.choice(WORDS[:10], 24)))))
    same = claims(answer(study(tmp_path / "same", lambda rng, _: " ".join(rng.choice(WORDS, 24)))))
    assert found["distinct"].outcome == "below"
    assert same["distinct"].value == pytest.approx(0, abs=0.02)
    assert found["words"].outcome == same["words"].outcome == "above"


def test_features_that_do_not_vary_have_no_effect(unchanged):
    row = next(row for row in unchanged.tables[0].rows if row["feature"] == "question marks")
    assert (row["base"], row["PPO-effect"], row["PPO-effect_ci"]) == (0, None, (None, None))


def test_the_peak_lies_before_the_change_and_the_end_after_it(collapsed):
    figure = next(figure for figure in collapsed.figures if figure.name == "texts-repetition")
    shares = {row["stage"]: row["share"] for row in figure.rows if (row["method"], row["proxy"]) == ("PPO", "w8")}
    assert shares["at gold's peak"] == pytest.approx(shares["before"], abs=0.03)
    assert shares["at the end"] == pytest.approx(5 / 6)


def test_best_of_n_takes_the_mean_over_all_subsets(tmp_path):
    """The reply that each proxy ranks first of all asks two questions; no other asks any."""
    tables = study(tmp_path, usual)
    proxies = [name for name in tables.names("scores") if tables.has(f"scores/{name}")]
    first = {name: tables.raw_scores(name).argmax(axis=1) for name in proxies}

    def texts(frame):
        asked = np.zeros((32, 64), dtype=bool)
        for best in first.values():
            asked[np.arange(32), best] = True
        return {"completion": pl.when(pl.Series(asked.ravel())).then(pl.lit("why ? how ?")).otherwise(pl.lit("yes"))}

    change(tables.root / "pools/pool.parquet", "samples", texts)
    row = next(row for row in answer(opened_again(tables)).tables[0].rows if row["feature"] == "question marks")
    assert row["best-of-n-end"] == 2
    assert 0 < row["base"] < 0.5


def test_ladders_show_the_same_prompts_for_both_methods_in_growing_pressure(collapsed):
    titles = [ladder.title for ladder in collapsed.texts]
    prompts = [ladder.prompt for ladder in collapsed.texts]
    assert titles == ["Best-of-n against w8"] * 4 + ["PPO against w8"] * 4
    assert prompts[:4] == prompts[4:]
    for ladder in collapsed.texts:
        kls = [sample.numbers["KL"] for sample in ladder.samples]
        assert kls == sorted(kls)
    assert collapsed.texts[4].samples[-1].completion == "so so so so so so"


def test_a_study_without_runs_or_with_three_prompts_answers_without_claims(tmp_path):
    tables = study(tmp_path / "few", usual, prompts=3, large_prompts=2)
    assert {claim.outcome for claim in answer(tables).claims} == {"unknown"}
    for path in (tables.root / "rl").glob("*.parquet"):
        path.unlink()
    found = answer(opened_again(tables))
    assert {claim.note for claim in found.claims} == {"there is no run of PPO"}
    assert {row["method"] for row in found.figures[0].rows} == {"best-of-n"}
