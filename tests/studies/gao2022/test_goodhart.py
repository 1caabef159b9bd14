import numpy as np
import pytest

from gao2022.changed_tables import change, opened_again, raw_gold
from gao2022.made_tables import MadeStudy, RunTruth, Truth, varied
from overopt.studies.gao2022.goodhart import PARTS, answer

SLOPE = 0.6
RUN = RunTruth(steps=(0, 10, 20, 30), kl=(0.0, 1.0, 3.0, 6.0), gold=(0.0,) * 4, proxy=(0.0, 0.5, 1.0, 1.5))
BASES = ("chitchat-w8", "chitchat-w16", "chitchat-w32")


def study(folder, *, bend=0.0, shift=0.0, slopes=(SLOPE,) * 3, far=0.0, seeds=1, prompts=32):
    """Proxies x with E[gold | x] = slope x - bend max(x - 1, 0)² for all, in one unit; PPO's gold is ``shift`` less.

    ``far`` takes the proxies of PPO's last step beyond all of the base's.
    """
    settings = {"proxies": BASES, "reference_proxy": "chitchat-w8", "seeded_proxy": "chitchat-w8", "pool": 256}
    settings |= {"data_proxies": BASES[:1], "large_proxies": BASES[:1], "proxy_seeds": seeds, "prompts": prompts}
    made = MadeStudy(folder, varied(Truth(run=lambda *_: RUN), large_prompts=2, **settings))
    made.sizes()
    tables = made.tables
    rng = np.random.default_rng(3)
    noise = np.sqrt(1 - max(slopes) ** 2)
    e = rng.standard_normal((prompts, 256))
    common = rng.standard_normal((prompts, 256))
    gold = slope_and_bend(common, max(slopes), bend) + noise * e
    gold -= gold.mean()
    unit = gold.std()
    change(made.root / "pools/pool.parquet", "samples", lambda _: {"gold": raw_gold(gold).ravel()})
    for name in tables.names("scores"):
        slope = slopes[[base.removeprefix("chitchat-") for base in BASES].index(tables.proxy(name).base)]
        share = slope / max(slopes)
        x = share * common + np.sqrt(1 - share**2) * rng.standard_normal(common.shape)
        temperature = tables.proxy_map(name).temperature
        # Calibrated, a proxy is x in standard deviations of gold.
        raw = x / unit / temperature
        change(made.root / f"scores/{name}.parquet", "scores", lambda _, raw=raw: {"proxy": raw.ravel()})
        for path in (made.root / "rl").glob(f"{name}-r*.parquet"):

            def replies(frame, share=share, temperature=temperature):
                step = frame["step"].to_numpy()
                y = np.interp(step, RUN.steps, RUN.proxy) + 0.3 * rng.standard_normal(step.size)
                y = y + far * (step == 30)
                got = slope_and_bend(share * y, max(slopes), bend) - shift * (step > 0)
                got = got + 0.1 * rng.standard_normal(step.size)
                return {"proxy": y / unit / temperature, "gold": raw_gold(got)}

            change(path, "rl_steps", replies)
    return opened_again(tables), unit


def slope_and_bend(x, slope, bend):
    return slope * x - bend * np.maximum(x - 1, 0) ** 2


def claims(answer):
    return {claim.id.removeprefix("goodhart-"): claim for claim in answer.claims}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    tables, _ = study(tmp_path_factory.mktemp("straight"))
    return answer(tables)


@pytest.fixture(scope="module")
def bent(tmp_path_factory):
    tables, _ = study(tmp_path_factory.mktemp("bent"), bend=1.0)
    return answer(tables)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    return study(tmp_path_factory.mktemp("shifted"), shift=0.8, seeds=2)


def test_a_straight_noisy_relation_loses_to_noise_alone(straight):
    """The best of n has the proxy gain g and the gold gain SLOPE g, so that all of (1 - SLOPE) g is regressional."""
    found = claims(straight)["bon-end"]
    row = next(row for row in straight.tables[0].rows if row["place"].startswith("n = 256"))
    assert found.outcome == "above"
    assert found.agreement == "not_comparable"
    assert found.value == pytest.approx((1 - SLOPE) * row["proxy_gain"], abs=0.15)


def test_the_scale_of_a_proxy_changes_no_part(tmp_path):
    """Recalibration multiplies scores; a proxy of other confidence ranks all replies alike and loses as much."""
    tables, _ = study(tmp_path)
    before = answer(tables).tables[0].rows
    for path in [tables.root / "scores/w8-p8000-s0.parquet", tables.root / "rl/w8-p8000-s0-r0.parquet"]:
        kind = "scores" if path.parent.name == "scores" else "rl_steps"
        change(path, kind, lambda frame: {"proxy": 3 * frame["proxy"].to_numpy()})
    for row, other in zip(before, answer(opened_again(tables)).tables[0].rows, strict=True):
        for part in ("proxy_gain", "gap", *PARTS):
            assert row[part] == pytest.approx(other[part], abs=1e-6)


def test_a_relation_that_falls_at_high_proxies_loses_to_its_bend(bent):
    assert claims(bent)["bon-end"].outcome == "below"


def test_gold_that_a_policy_lacks_at_equal_proxy_is_its_shift(shifted, straight):
    tables, unit = shifted
    found = claims(answer(tables))["shift"]
    assert found.outcome == "above"
    assert found.value == pytest.approx(0.8 / unit, abs=0.06)
    assert "2 runs" in found.counted
    assert claims(straight)["shift"].value == pytest.approx(0, abs=0.06)


def test_the_last_step_loses_more_to_the_shift_than_to_noise(shifted, straight):
    assert claims(answer(shifted[0]))["ppo-end"].outcome == "below"
    assert claims(straight)["ppo-end"].outcome == "above"


def test_replies_beyond_all_base_proxies_leave_the_shift_unknown(tmp_path):
    found = answer(study(tmp_path, far=6.0)[0])
    assert claims(found)["shift"].outcome == "unknown"
    assert "50%" in claims(found)["shift"].note
    row = next(row for row in found.tables[0].rows if row["place"].startswith("step = 30"))
    assert row["shift"] is None
    assert row["beyond"] > 0.9


@pytest.mark.parametrize(
    ("slopes", "outcome", "agreement"), [((0.2, 0.4, 0.57), "above", "agrees"), ((0.57, 0.4, 0.2), "below", "differs")]
)
def test_the_slope_of_gold_on_the_proxy_follows_its_size(tmp_path, slopes, outcome, agreement):
    found = claims(answer(study(tmp_path, slopes=slopes)[0]))["slope"]
    assert (found.outcome, found.agreement) == (outcome, agreement)


def test_stacked_parts_end_at_the_whole_loss(bent):
    for figure in bent.figures:
        tops = {}
        for row in figure.rows:
            tops[row["proxy"], row["place"]] = (row["top"], row["gap"])
        assert len({row["part"] for row in figure.rows}) == (2 if figure.name == "goodhart-bon" else len(PARTS))
        for top, gap in tops.values():
            assert top == pytest.approx(gap, abs=1e-9)


def test_figures_cover_both_methods_and_all_sizes(bent):
    assert [figure.name for figure in bent.figures] == ["goodhart-bon", "goodhart-ppo"]
    for figure in bent.figures:
        assert {row["proxy"] for row in figure.rows} == {"w8", "w16", "w32"}


def test_three_prompts_have_no_intervals_and_no_runs_no_split_of_them(tmp_path):
    tables, _ = study(tmp_path, prompts=3)
    found = claims(answer(tables))
    assert all(found[name].outcome == "unknown" for name in ("bon-end", "ppo-peak", "ppo-end", "shift"))
    for path in (tables.root / "rl").glob("*.parquet"):
        path.unlink()
    without = answer(opened_again(tables))
    assert "no run of PPO" in claims(without)["ppo-end"].note
    assert [figure.name for figure in without.figures] == ["goodhart-bon"]


def test_a_constant_proxy_is_left_out_and_named(tmp_path):
    tables, _ = study(tmp_path)
    change(tables.root / "scores/w16-p8000-s0.parquet", "scores", lambda frame: {"proxy": np.zeros(frame.height)})
    found = answer(opened_again(tables))
    assert "w16" in " ".join(found.caveats)
    assert {row["proxy"] for row in found.tables[0].rows} == {"w8", "w32"}


def test_parts_are_not_weighed_where_no_gold_was_lost(tmp_path):
    found = claims(answer(study(tmp_path, shift=-1.5)[0]))
    for place in ("ppo-peak", "ppo-end"):
        assert (found[place].value, found[place].outcome) == (None, "unknown")
        assert found[place].note.startswith("that gold was lost at all is not certain: \N{MINUS SIGN}")
    assert found["bon-end"].outcome == "above"
