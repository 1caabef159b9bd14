"""The commands for other people's numbers: their JSON, their tables, their refusals."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from oracles import best_of_n

from overopt.cli import main as cli
from overopt.worlds.goodhart import ExtremalWorld

ROOT = Path(__file__).parents[2]
FIT_KEYS = {"group", "law", "alpha", "beta", "alpha_ci", "beta_ci", "r2", "rmse", "points", "d_range", "peak", "status",
            "alternatives"}  # fmt: skip


@pytest.fixture
def command(capsys, monkeypatch):
    """Run ``overopt ARGS`` in this process; exit status, standard output and error."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["overopt", *map(str, args)])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def ask(command):
    def run(*args):
        status, out, err = command(*args, "--json")
        assert (status, err) == (0, "")
        return json.loads(out, parse_constant=pytest.fail)

    return run


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_bon_is_the_mean_over_every_subset(tmp_path, ask):
    rng = np.random.default_rng(0)
    pools = {"a": 5, "b": 7, "c": 6}
    rows = [(name, int(rng.integers(4)), float(rng.integers(9))) for name, size in pools.items() for _ in range(size)]
    found = ask("bon", write(tmp_path / "s.csv", ["prompt", "proxy", "gold"], rows), "--n", "3,1,5")
    assert [point["n"] for point in found["curve"]] == [1, 3, 5]
    for point in found["curve"]:
        by_prompt = [
            best_of_n.expected_value(
                [row[1] for row in rows if row[0] == name], [row[2] for row in rows if row[0] == name], point["n"]
            )
            for name in pools
        ]
        assert point["gold"] == pytest.approx(np.mean(by_prompt), abs=1e-12)
        assert point["gold_se"] == pytest.approx(np.std(by_prompt, ddof=1) / np.sqrt(3), abs=1e-12)
    assert found["samples_per_prompt"] == {"min": 5, "max": 7}


def test_bon_keeps_the_contract(ask):
    found = ask("bon", ROOT / "examples/bon.csv")
    assert found["schema"] == "overopt.bon/1"
    assert {"prompts", "samples_per_prompt", "missing", "tie_rate", "curve", "fit", "verdict"} <= set(found)
    point = {"n", "kl", "kl_bound", "proxy", "gold", "gold_se", "gold_ci", "oracle"}
    assert all(point <= set(found_point) for found_point in found["curve"])
    assert set(found["fit"]) >= FIT_KEYS
    assert found["fit"]["intervals"] == "units"
    assert all(point["kl"] <= point["kl_bound"] + 1e-12 for point in found["curve"])


@pytest.mark.parametrize(("bend", "verdict"), [(0.6, "overoptimized"), (0.0, "not_overoptimized")])
def test_bon_finds_the_turn_of_a_world_that_turns(tmp_path, ask, bend, verdict):
    proxy, gold = ExtremalWorld(dial=bend).sample(300, 256, np.random.default_rng(1))
    rows = [(p, proxy[p, i], gold[p, i]) for p in range(300) for i in range(256)]
    assert ask("bon", write(tmp_path / "s.csv", ["prompt", "proxy", "gold"], rows))["verdict"] == verdict


def test_order_of_rows_and_kind_of_file_change_nothing(tmp_path, ask):
    with (ROOT / "examples/bon.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:4096]
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    lines = tmp_path / "s.txt"
    lines.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    mixed = write(
        tmp_path / "t.csv", ["gold", "proxy", "prompt"], [[r["gold"], r["proxy"], r["prompt"]] for r in shuffled]
    )
    first, second = ask("bon", lines), ask("bon", mixed)
    for one, other in zip(first["curve"], second["curve"], strict=True):
        assert one["gold"] == pytest.approx(other["gold"], rel=1e-12)
        assert one["gold_ci"] == pytest.approx(other["gold_ci"], rel=1e-9)


def test_missing_scores_are_dropped_and_counted(tmp_path, ask):
    rows = [("a", 1, 1), ("a", 2, ""), ("a", "nan", 3), ("a", 4, 4), ("", 5, 5), ("b", 1, 2), ("b", 2, 1)]
    found = ask("bon", write(tmp_path / "s.csv", ["prompt", "proxy", "gold"], rows))
    assert (found["missing"], found["prompts"], found["samples_per_prompt"]) == (3, 2, {"min": 2, "max": 2})


def test_small_pools_can_be_left_out(tmp_path, ask, command):
    file = write(tmp_path / "s.csv", ["prompt", "proxy", "gold"], [("a", i, i) for i in range(8)] + [("b", 1, 1)])
    found = ask("bon", file, "--min-samples", "2")
    assert (found["prompts"], found["prompts_left_out"], found["curve"][-1]["n"]) == (1, 1, 8)
    status, _, err = command("bon", file, "--n", "4")
    assert status == 2
    assert re.fullmatch(r"overopt: .*\b1\b.*\n", err)


@pytest.mark.parametrize(("law", "kl_of_peak"), [("bon", 1.5**2), ("rl", np.exp(2 * (0.6 / 0.2 - 1)))])
def test_fit_returns_the_law_that_made_the_points(tmp_path, ask, law, kl_of_peak):
    d = np.linspace(0, 9, 19)
    with np.errstate(divide="ignore", invalid="ignore"):
        gold = 4 + np.where(d > 0, d * (0.6 - 0.2 * (d if law == "bon" else np.log(d))), 0)
    file = write(tmp_path / "c.csv", ["kl", "gold"], zip(d**2, gold, strict=True))
    (fit,) = ask("fit", file)["groups"]  # the law is chosen, the baseline found in the row with KL 0
    assert (fit["law"], fit["status"], fit["baseline"], fit["points"]) == (law, "ok", 4.0, 18)
    assert (fit["alpha"], fit["beta"]) == pytest.approx((0.6, 0.2), abs=1e-9)
    assert fit["peak"]["kl"] == pytest.approx(kl_of_peak, rel=1e-8)
    assert fit["peak"]["inside_data"]


def test_fit_shares_alpha_between_groups(tmp_path, ask):
    d = np.linspace(0.5, 6, 12)
    rows = [(name, x * x, x * (0.7 - beta * x)) for name, beta in (("p", 0.08), ("q", 0.15)) for x in d]
    found = ask("fit", write(tmp_path / "c.csv", ["g", "kl", "gold"], rows), "--group", "g", "--share", "alpha")
    assert found["shared"]["alpha"] == pytest.approx(0.7, abs=1e-9)
    assert found["shared"]["r2"] == pytest.approx(1)
    assert [(fit["group"], round(fit["beta"], 9)) for fit in found["groups"]] == [("p", 0.08), ("q", 0.15)]
    assert ask("fit", tmp_path / "c.csv", "--group", "g")["shared"] is None


def test_a_rising_curve_has_no_peak_to_trust(tmp_path, ask):
    rng = np.random.default_rng(3)
    d = np.linspace(0.2, 4, 12)
    file = write(tmp_path / "c.csv", ["kl", "gold"], zip(d**2, 0.5 * d + rng.normal(0, 0.02, 12), strict=True))
    for law in ("bon", "rl"):
        (fit,) = ask("fit", file, "--law", law)["groups"]
        assert fit["status"] != "ok" or fit["peak"] is None


def test_diagnose_knows_the_four_kinds_of_run(tmp_path, ask):
    step = np.arange(21)
    gold = {"up": step / 10, "over": 1 - ((step - 8) / 8) ** 2, "down": 1 - ((step - 8) / 8) ** 2, "flat": 0 * step}
    proxy = {"up": step, "over": step, "down": 10 - abs(step - 8), "flat": step}
    noise = np.random.default_rng(0).normal(0, 0.02, (4, 21))
    rows = [(r, s, proxy[r][s], gold[r][s] + noise[i, s]) for i, r in enumerate(gold) for s in reversed(range(21))]
    found = ask("diagnose", write(tmp_path / "r.csv", ["run", "step", "proxy", "gold"], rows), "--group", "run")
    assert found["schema"] == "overopt.diagnose/1"
    verdicts = {run["group"]: run["verdict"] for run in found["groups"]}
    assert verdicts == {"up": "improving", "over": "overoptimized", "down": "collapsed", "flat": "undetermined"}
    keys = {"group", "verdict", "points", "gold_peak", "gold_final", "proxy_final", "drop", "threshold"}
    assert all(keys <= set(run) for run in found["groups"])
    assert set(found["groups"][0]["gold_peak"]) == {"step", "gold", "proxy"}


def test_rows_of_one_step_are_averaged(tmp_path, ask):
    rows = [(s, s, g + e) for s, g in enumerate([0, 1, 2, 1]) for e in (-0.1, 0.1)]
    (run,) = ask("diagnose", write(tmp_path / "r.csv", ["step", "proxy", "gold"], rows))["groups"]
    assert (run["points"], run["gold_peak"]["step"]) == (4, 2)
    assert run["gold_peak"]["gold"] == pytest.approx(2)
    assert run["noise_sd"] == pytest.approx(0.1)  # two values 0.2 apart: sd 0.1414, over root 2


@pytest.mark.parametrize("spelling", [("A", "B"), ("A>B", "b > a"), ("1", "0"), ("true", "False"), ("1.0", "0")])
def test_eval_rm_reads_every_spelling_of_a_label(tmp_path, ask, spelling):
    better, worse = spelling
    rows = [(2, 1, better, "x", 3, 2), (1, 2, better, "x", 3, 5), (1, 2, worse, "y", 1, 4), (1, 1, worse, "y", 2, 2)]
    file = write(tmp_path / "p.csv", ["a", "b", "label", "k", "la", "lb"], rows)
    options = ("--by", "k", "--len-a", "la", "--len-b", "lb")
    found = ask("eval-rm", "scores", file, *options)
    assert (found["schema"], found["pairs"], found["ties"], found["missing"]) == ("overopt.eval_rm/1", 4, 1, 0)
    assert (found["accuracy"], found["longer_is_better"]) == (0.625, 0.625)
    assert {name: row["accuracy"] for name, row in found["by"].items()} == {"x": 0.5, "y": 0.75}
    assert ask("eval-rm", "scores", file, *options, "--ties", "wrong")["accuracy"] == 0.5
    assert ask("eval-rm", "scores", file)["longer_is_better"] is None


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("bon", "examples/bon.csv", "--n", "1,512"), "512"),
        (("bon", "examples/bon.csv", "--n", "1,two"), "--n"),
        (("bon", "examples/bon.csv", "--proxy", "prxy"), "did you mean proxy"),
        (("bon", "examples/bon.csv", "--prompt", "proxy", "--level", "1.5"), "--level"),
        (("bon", "examples/bon.csv", "--plot", "x.pdf"), "--plot"),
        (("fit", "examples/rl.csv", "--law", "ppo"), "--law"),
        (("fit", "examples/rl.csv", "--share", "beta"), "--share"),
        (("diagnose", "examples/none.csv"), "none.csv"),
        (("eval-rm", "scores", "examples/pairs.csv", "--label", "category"), "labels"),
        (("eval-rm", "scores", "examples/pairs.csv", "--pair", "words_a"), "occurs"),
        (("eval-rm", "scores", "examples/pairs.csv", "--len-a", "words_a"), "--len-b"),
        (("plan", "rate"), "--bound"),
        (("plan", "rate", "--bound", "1e-4", "--rate", "0.1"), "rate"),
        (("plan", "compare", "--first", "0.7"), "--second"),
    ],
)
def test_a_wrong_request_is_refused_in_one_sentence(command, monkeypatch, args, words):
    monkeypatch.chdir(ROOT)
    status, out, err = command(*args)
    assert (status, out) == (2, "")
    assert err.startswith("overopt: ")
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize("kind", ["html", "svg", "png"])
@pytest.mark.parametrize(
    "args",
    [("bon", "bon.csv"), ("fit", "rl.csv", "--group", "run"), ("diagnose", "rl.csv", "--group", "run"),
     ("eval-rm", "scores", "pairs.csv", "--by", "category")],
    ids=lambda args: args[0],
)  # fmt: skip
def test_every_answer_can_be_drawn(tmp_path, command, args, kind):
    *name, file = [args[0], args[1]] if args[1].endswith("csv") else args[:3]
    rest = args[len(name) + 1 :]
    picture = tmp_path / f"p.{kind}"
    assert command(*name, ROOT / "examples" / file, *rest, "--plot", picture)[0] == 0
    start = {"html": b"<!DOCTYPE html>", "svg": b"<svg", "png": b"\x89PNG"}[kind]
    assert picture.read_bytes().lstrip().lower().startswith(start.lower())


@pytest.mark.parametrize(
    "args",
    [
        ("bon", "examples/bon.csv"),
        ("fit", "examples/rl.csv", "--group", "run", "--law", "rl", "--share", "alpha"),
        ("diagnose", "examples/rl.csv", "--group", "run", "--kl", "kl"),
        ("eval-rm", "scores", "examples/pairs.csv", "--by", "category", "--len-a", "words_a", "--len-b", "words_b"),
    ],
)
def test_tables_fit_into_eighty_columns_and_cut_nothing(command, monkeypatch, args):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = command(*args)
    assert status == 0
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_table_of_the_readme_is_what_the_command_prints(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")
    block = re.search(r"\$ overopt (bon .*)\n((?:.+\n)+)```", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert block is not None
    _, out, _ = command(*block[1].split())
    printed = [line.rstrip() for line in out.splitlines()]
    assert [line.rstrip() for line in block[2].splitlines()] == printed[: len(block[2].splitlines())]


@pytest.mark.parametrize(
    ("args", "needed"),
    [
        (("rate", "--bound", "1e-4"), 29956),  # ln 0.05 / ln(1 - 1e-4), rounded up
        (("compare", "--difference", "0.5", "--sd", "1", "--correlation", "0.5"), 34),  # paired t, effect 0.5, power .8
    ],
)
def test_plan_says_how_many(ask, args, needed):
    assert ask("plan", *args)["needed"] == needed
