"""The numbers of a study against a world whose truth is known: Gaussian gold, a proxy with Gaussian error."""

import json

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from overopt.errors import DataError
from overopt.measure.study import measure_study
from overopt.records.tables import COLUMNS, read_table, seal_tables, settings_of, write_table

P, N = 40, 128
NOISE = 1.0
STEPS = (0, 3, 6, 9, 12)


def expected_maximum(n: int) -> float:
    """Mean of the largest of ``n`` standard normals, by quadrature over its quantile."""
    u = (np.arange(200_000) + 0.5) / 200_000
    return float(norm.ppf(u ** (1 / n)).mean())


def frame(kind: str, **columns: object) -> pl.DataFrame:
    """A table of a kind; columns that a test does not care for hold zeros."""
    size = len(next(iter(columns.values())))
    zero = {pl.Int64: 0, pl.Float64: 0.0, pl.String: "", pl.Boolean: True}
    rest = {name: [zero.get(dtype, [])] * size for name, dtype in COLUMNS[kind].items() if name not in columns}
    return pl.DataFrame({**rest, **columns}, schema=COLUMNS[kind])


def samples(kind: str, gold: np.ndarray, **columns: object) -> pl.DataFrame:
    prompts, number = gold.shape
    ids = {"prompt_id": np.repeat(np.arange(prompts), number), "sample_id": np.tile(np.arange(number), prompts)}
    return frame(kind, **ids, gold=gold.ravel(), **columns)


class World:
    """A study's folder, written from arrays."""

    def __init__(
        self,
        folder,
        *,
        seed=0,
        seeds=(0, 1),
        errors=None,
        gold_path=(0, 0.6, 0.9, 0.5, 0.0),
        proxy_path=(0, 0.6, 1.0, 1.4, 1.8),
        affine=(1.0, 0.0),
        shuffle=False,
    ):
        rng = np.random.default_rng(seed)
        self.folder = folder
        self.gold = rng.normal(size=(P, N))
        self.raw = 3.0 + 2.0 * self.gold
        error = rng.normal(scale=NOISE, size=(len(seeds), P, N)) if errors is None else errors
        self.error = error
        order = np.random.default_rng(9)
        settings = {"policy": "p", "policy_parameters": 1, "policy_held_out_nats_per_token": 3.0, "sampler": {}}
        self.write("pool.parquet", "samples", samples("samples", self.raw), settings, order if shuffle else None)
        margins = rng.normal(size=400)
        pairs = frame(
            "preferences",
            pair_id=np.arange(400),
            gold_chosen=2 * np.abs(margins),
            gold_rejected=np.zeros(400),
            held_out=[True] * 400,
        )
        self.write("preferences.parquet", "preferences", pairs, {"comparisons": 400, "gold_ties": 0})
        noisy = np.abs(margins) + rng.normal(scale=NOISE, size=400)
        for index, number in enumerate(seeds):
            name = f"w8-p10-s{number}.parquet"
            scale, shift = affine
            scores = samples("samples", self.gold).with_columns(
                proxy=scale * (self.gold + error[index]).ravel() + shift
            )
            self.write(f"scores/{name}", "scores", scores, {}, order if shuffle else None)
            pair_scores = frame(
                "pair_scores", pair_id=np.arange(400), score_chosen=scale * noisy, score_rejected=np.zeros(400)
            )
            self.write(f"pair_scores/{name}", "pair_scores", pair_scores, {"width": 8, "parameters": 10, "pairs": 10})
        base = self.gold.mean(axis=1)
        steps = []
        for step, gold, proxy in zip(STEPS, gold_path, proxy_path, strict=True):
            drawn = base[:, None] + gold + rng.normal(scale=0.2, size=(P, 4))
            table = samples(
                "rl_steps",
                3 + 2 * drawn,
                proxy=(affine[0] * (drawn - gold + proxy) + affine[1]).ravel(),
                kl=np.full(4 * P, step**2 / 10.0),
                entropy=np.full(4 * P, 40.0 - step),
            )
            steps.append(table.with_columns(step=pl.lit(step)))
        self.write("rl/w8-p10-s0.parquet", "rl_steps", pl.concat(steps), {})
        header = {"schema": "x", "study": "world", "preset": "test", "seed": 0, "settings": {}}
        (folder / "study.json").write_text(json.dumps(header))
        seal_tables(folder / "tables")

    def write(self, name, kind, table, settings, order=None):
        path = self.folder / "tables" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if order is not None:
            table = table[order.permutation(len(table))]
        write_table(table, path, kind, settings)

    def measure(self):
        return measure_study(self.folder)


def curve(results, name="gold"):
    return [point[name] for point in results["bon"][0]["curve"]]


def test_best_of_n_gold_is_the_closed_form(tmp_path):
    """E[gold of the best of n by proxy] = Var gold / sd proxy x E[maximum of n normals]: regressional Goodhart."""
    world = World(tmp_path)
    results = world.measure()
    assert [point["n"] for point in results["bon"][0]["curve"]] == [1, 2, 4, 8, 16, 32, 64, 128]
    for point in results["bon"][0]["curve"][1:6]:
        truth = expected_maximum(point["n"]) / np.sqrt(1 + NOISE**2)
        # Gold is measured in its standard deviation on the pool, which is 1 up to sampling.
        assert abs(point["gold"] - truth) < 4 * point["gold_se"] + 0.02
    assert curve(results)[0] == 0
    assert results["base"]["gold_mean"] == pytest.approx(3 + 2 * world.gold.mean())
    assert results["base"]["gold_sd"] == pytest.approx(2 * world.gold.std())


def test_best_of_n_gold_is_the_mean_over_every_draw(tmp_path):
    """Brute force at n = 2: every pair of a prompt's samples, the one with the higher proxy."""
    world = World(tmp_path, seeds=(0,))
    proxy, gold = world.gold + world.error[0], (world.gold - world.gold.mean()) / world.gold.std()
    i, j = np.triu_indices(N, 1)
    chosen = np.where(proxy[:, i] > proxy[:, j], gold[:, i], gold[:, j])
    assert curve(world.measure())[1] == pytest.approx((chosen.mean(axis=1) - gold.mean(axis=1)).mean(), abs=1e-10)


def test_identical_members_give_the_single_curve(tmp_path):
    """Trap 1: gold that is not reordered with a second member."""
    error = np.random.default_rng(5).normal(size=(1, P, N))
    one = World(tmp_path / "one", seeds=(0,), errors=error).measure()
    two = World(tmp_path / "two", seeds=(0, 1), errors=np.repeat(error, 2, axis=0)).measure()
    assert curve(two) == pytest.approx(curve(one), abs=1e-12)
    assert curve(two, "proxy") == pytest.approx(curve(one, "proxy"), abs=1e-12)
    assert two["bon"][0]["seeds"] == [0, 1]


def test_the_order_of_rows_does_not_matter(tmp_path):
    plain, shuffled = World(tmp_path / "a").measure(), World(tmp_path / "b", shuffle=True).measure()
    del plain["ladder"], shuffled["ladder"]
    assert plain == shuffled


def test_the_unit_of_a_proxy_does_not_matter(tmp_path):
    """Recalibration takes out shift and scale, so gold, proxy and RL curves stay."""
    plain, scaled = World(tmp_path / "a").measure(), World(tmp_path / "b", affine=(7.0, -30.0)).measure()
    assert curve(scaled) == pytest.approx(curve(plain))
    assert curve(scaled, "proxy") == pytest.approx(curve(plain, "proxy"), rel=1e-5)
    for one, other in zip(plain["rl"][0]["curve"], scaled["rl"][0]["curve"], strict=True):
        assert other["proxy"] == pytest.approx(one["proxy"], rel=1e-5, abs=1e-9)


def test_rl_means_by_step(tmp_path):
    run = World(tmp_path).measure()["rl"][0]
    assert [point["step"] for point in run["curve"]] == list(STEPS)
    assert [point["kl"] for point in run["curve"]] == pytest.approx([step**2 / 10 for step in STEPS])
    assert [point["entropy"] for point in run["curve"]] == pytest.approx([40 - step for step in STEPS])
    for point, truth in zip(run["curve"], (0, 0.6, 0.9, 0.5, 0.0), strict=True):
        assert abs(point["gold"] - truth) < 0.08


@pytest.mark.parametrize(
    ("gold_path", "proxy_path", "verdict"),
    [
        ((0, 0.6, 0.9, 0.5, 0.0), (0, 0.6, 1.0, 1.4, 1.8), "overoptimized"),
        ((0, 0.6, 0.9, 0.5, 0.0), (0, 0.6, 1.0, 0.5, 0.0), "collapsed"),
        ((0, 0.3, 0.6, 0.9, 1.2), (0, 0.6, 1.0, 1.4, 1.8), "not_overoptimized"),
    ],
)
def test_verdicts(tmp_path, gold_path, proxy_path, verdict):
    run = World(tmp_path, gold_path=gold_path, proxy_path=proxy_path).measure()["rl"][0]
    assert run["verdict"] == verdict
    if verdict == "overoptimized":
        assert run["drop"]["peak"] == 6
        assert run["drop"]["drop"] == pytest.approx(0.9, abs=0.1)
        assert run["proxy_change"]["change"] > 0


def test_what_is_unknown_is_null(tmp_path):
    text = json.dumps(World(tmp_path, seeds=(0,)).measure(), allow_nan=False)
    assert "NaN" not in text
    trends = json.loads(text)["trends"]
    assert trends[0]["slope"] is None  # one size has no trend


def test_tables_of_two_studies_are_not_mixed(tmp_path):
    world = World(tmp_path)
    pool = read_table(tmp_path / "tables/pool.parquet", "samples")
    settings = settings_of(tmp_path / "tables/pool.parquet", "samples")
    write_table(pool.filter(pl.col("prompt_id") > 0), tmp_path / "tables/pool.parquet", "samples", settings)
    seal_tables(tmp_path / "tables")
    with pytest.raises(DataError, match="does not score the samples of pool"):
        world.measure()


def test_a_repeated_sample_is_refused(tmp_path):
    world = World(tmp_path)
    settings = settings_of(tmp_path / "tables/pool.parquet", "samples")
    pool = read_table(tmp_path / "tables/pool.parquet", "samples")
    repeated = pool.with_columns(sample_id=pl.when(pl.col("sample_id") == 1).then(0).otherwise(pl.col("sample_id")))
    write_table(repeated, tmp_path / "tables/pool.parquet", "samples", settings)
    seal_tables(tmp_path / "tables")
    with pytest.raises(DataError, match="occurs twice"):
        world.measure()
