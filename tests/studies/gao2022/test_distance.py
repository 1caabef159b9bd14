"""How KL grows by step, penalty and size, on logs whose power of the step is known."""

import numpy as np
import polars as pl
import pytest

from gao2022.made_tables import WIDTHS, Truth, made_study, varied
from overopt.records.tables import read_table, settings_of, write_table
from overopt.studies.gao2022 import distance


def _claims(tables):
    return {claim.id: claim for claim in distance.answer(tables).claims}


def _full_steps(warm_up: int, steps: int) -> np.ndarray:
    """Full steps before each batch from the second on, counted one by one."""
    found, total = [], 0.0
    for step in range(1, steps):
        total += min(step / warm_up, 1.0)
        found.append(total)
    return np.array(found)


def _write_logs(tables, *, power: float, held: float = 0.25, per_ten: float = 0.0, scatter: float = 0.03) -> None:
    """KL = c × steps^power with c by size and penalty, and a power of its own for each run."""
    rng = np.random.default_rng(0)
    for name in tables.names("logs"):
        path = tables.root / f"logs/{name}.parquet"
        log, about = read_table(path, "rl_log"), settings_of(path, "rl_log")
        x = _full_steps(about["rl"]["warm_up"], len(log))
        size = np.log10(WIDTHS[name.split("-")[0]] / WIDTHS["w8"])
        level = 0.01 * 10 ** (per_ten * size) * (held if about["rl"]["kl_coef"] else 1.0)
        own = 0.0 if per_ten else rng.normal(0, scatter)
        kl = np.concatenate([[0.0], level * x ** (power + own)])
        write_table(log.with_columns(kl=pl.Series(kl)), path, "rl_log", about)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_study(tmp_path_factory.mktemp("made"), Truth(), parts=("sizes", "policies", "penalties"))


def test_quadratic_growth_is_seen_through_the_warm_up(made):
    _write_logs(made, power=2.0)
    claim = _claims(made)["distance-exponent"]
    assert claim.value == pytest.approx(2.0, abs=0.05)
    assert claim.ci[0] <= 2.0 <= claim.ci[1]
    assert claim.agreement == "agrees"
    # Six sizes, and three more seeds of the reference proxy; other policies and penalised runs do not count.
    assert claim.counted == "9 runs"


def test_linear_growth_differs_from_the_published_one(made):
    _write_logs(made, power=1.0)
    claim = _claims(made)["distance-exponent"]
    assert claim.value == pytest.approx(1.0, abs=0.05)
    assert (claim.outcome, claim.agreement) == ("below", "differs")


def test_the_share_of_kl_that_a_penalty_leaves_is_measured_seed_by_seed(made):
    _write_logs(made, power=2.0, held=0.25, scatter=0.0)
    claim = _claims(made)["distance-penalty"]
    assert claim.value == pytest.approx(0.25, rel=1e-6)
    assert claim.agreement == "agrees"
    _write_logs(made, power=2.0, held=2.0, scatter=0.0)
    assert _claims(made)["distance-penalty"].agreement == "differs"


def test_growth_with_the_size_of_the_proxy_is_a_slope_over_sizes(made):
    _write_logs(made, power=2.0, per_ten=0.2)
    claim = _claims(made)["distance-proxy-size"]
    assert claim.value == pytest.approx(0.2, abs=1e-6)
    assert claim.outcome == "above"
    assert claim.agreement == "not_comparable"
    assert claim.counted.startswith("6 sizes")


def test_penalties_sizes_and_policies_have_a_panel_each(made):
    _write_logs(made, power=2.0)
    answer = distance.answer(made)
    kinds = {(row["panel"], row["kind"]) for row in answer.tables[0].rows}
    assert {kind for panel, kind in kinds if panel == "by penalty"} == {"no penalty", "penalty 0.15"}
    assert len([kind for panel, kind in kinds if panel == "by proxy"]) == 6
    assert len([kind for panel, kind in kinds if panel == "by policy"]) == 3
    assert answer.tables[0].rows[0]["clipped"] == pytest.approx(2.0)


def test_runs_of_rounds_have_lengths_of_their_own_and_do_not_count(tmp_path):
    tables = made_study(tmp_path, parts=("rounds",))
    answer = distance.answer(tables)
    assert {claim.value for claim in answer.claims} == {None}
    assert not answer.figures


def test_fewer_than_four_runs_or_seeds_have_no_interval(tmp_path):
    bases = {"proxies": ("chitchat-w8", "chitchat-w16"), "seeded_proxy": "chitchat-w8", "penalty_seeds": 1}
    truth = varied(Truth(), data_proxies=("chitchat-w8",), large_proxies=("chitchat-w8",), **bases)
    claims = _claims(made_study(tmp_path, truth, parts=("sizes", "penalties")))
    assert claims["distance-exponent"].outcome == "unknown"
    assert claims["distance-penalty"].outcome == "unknown"
    assert "an interval needs four seeds" in claims["distance-penalty"].note


def test_a_small_share_of_kl_keeps_its_digits_and_says_which_batches_it_is_of(made):
    _write_logs(made, power=2.0, held=0.02, scatter=0.0)
    sentence = _claims(made)["distance-penalty"].sentence
    assert "the mean KL of the last tenth of the training batches is 0.020 [" in sentence
