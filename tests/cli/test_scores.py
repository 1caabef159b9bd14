"""The commands for other people's numbers: their JSON, their tables, their refusals."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from oracles import best_of_n

from overopt.worlds.goodhart import ExtremalWorld

ROOT = Path(__file__).parents[2]
FIT_KEYS = {"group", "law", "alpha", "beta", "alpha_ci", "beta_ci", "r2", "rmse", "points", "d_range", "peak", "status",
            "alternatives"}  # fmt: skip


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
    status, _, err = command("bon", file, "--n", "1,4")
    assert status == 2
    assert "the 1 samples of the smallest pool; --min-samples 4 would leave out 1 of 2 prompts" in err
    assert ask("bon", file, "--n", "1,4", "--min-samples", "4")["prompts_left_out"] == 1


@pytest.mark.parametrize(("law", "kl_of_peak"), [("bon", 1.5**2), ("rl", np.exp(2 * (0.6 / 0.2 - 1)))])
def test_fit_returns_the_law_that_made_the_points(tmp_path, ask, law, kl_of_peak):
    d = np.linspace(0, 9, 19)
    with np.errstate(divide="ignore", invalid="ignore"):
        gold = 4 + np.where(d > 0, d * (0.6 - 0.2 * (d if law == "bon" else np.log(d))), 0)
    file = write(tmp_path / "c.csv", ["kl", "gold"], zip(d**2, gold, strict=True))
    (fit,) = ask("fit", file)["groups"]  # the law is chosen, the baseline found in the row with KL 0
    assert (fit["law"], fit["status"], fit["baseline"], fit["points"]) == (law, "ok", pytest.approx(4), 18)
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


def test_a_run_without_gold_is_named_and_not_passed_over(tmp_path, ask, command):
    rows = [["a", step, step, -step] for step in range(6)] + [["b", step, step, ""] for step in range(6)]
    file = write(tmp_path / "r.csv", ["run", "step", "proxy", "gold"], rows)
    found = ask("diagnose", file, "--group", "run")["groups"]
    assert [(run["group"], run["verdict"], run["points"]) for run in found] == [
        ("a", "overoptimized", 6), ("b", "undetermined", 0),
    ]  # fmt: skip
    status, out, _ = command("diagnose", file, "--group", "run", "--plot", tmp_path / "p.html")
    assert status == 0
    assert "b: no row has step, proxy and gold" in out


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
        (("bon", "examples/bon.csv", "--n", "1,512"), "the largest pool holds 256"),
        (("bon", "examples/bon.csv", "--n", "1,two"), "--n"),
        (("bon", "examples/bon.csv", "--proxy", "prxy"), "did you mean --proxy proxy?"),
        (("bon", "examples/bon.csv", "--prompt", "proxy", "--level", "1.5"), "--level"),
        (("bon", "examples/bon.csv", "--plot", "x.pdf"), "--plot"),
        (("fit", "examples/rl.csv", "--law", "ppo"), "--law"),
        (("fit", "examples/rl.csv", "--share", "beta"), "--share"),
        (("diagnose", "examples/none.csv"), "none.csv"),
        (("eval-rm", "scores", "examples/pairs.csv", "--label", "category"), "labels"),
        (("eval-rm", "scores", "examples/pairs.csv", "--pair", "words_a"), "occurs"),
        (("eval-rm", "scores", "examples/pairs.csv", "--len-a", "words_a"), "--len-b"),
        (("eval-rm", "scores", "examples/pairs.csv", "--b", "a"), "--a and --b must be two columns; both are 'a'"),
        (("eval-rm", "scores", "examples/pairs.csv", "--chosen", "a"), "--chosen and --rejected go together"),
        (
            ("eval-rm", "scores", "examples/pairs.csv", "--chosen", "a", "--rejected", "b", "--label", "label"),
            "without",
        ),
        (("eval-rm", "scores", "examples/pairs.csv", "--chosen", "a", "--rejected", "a"), "must be two columns"),
        (("plan", "rate"), "overopt: plan rate needs one of --bound"),
        (("plan", "rate", "--bound", "1e-4", "--against", "0.1"), "overopt: --bound and --against are different"),
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


def test_intervals_stand_beneath_their_values_where_room_is_short_and_beside_them_where_it_is_not(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    args = ("fit", "examples/rl.csv", "--group", "run", "--law", "rl")
    for columns, n_lines, n_intervals in (("80", 8, 9), ("90", 8, 12), ("140", 4, 12)):
        monkeypatch.setenv("COLUMNS", columns)
        _, out, _ = command(*args)
        table = out.split("w8: ")[0].splitlines()
        assert len(table) == n_lines
        intervals = re.findall(r"\[[^\[\]]*\]", "\n".join(table))
        assert len(intervals) == n_intervals
        assert not any("\n" in interval for interval in intervals)
        assert ("no room for peak gold" in out) is (n_intervals < 12)


def test_a_pipe_breaks_no_lines(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("COLUMNS", raising=False)
    _, out, _ = command("bon", "examples/bon.csv")
    assert any(line.startswith("undetermined: ") and line.endswith("would decide") for line in out.splitlines())
    assert len(out.splitlines()) == 1 + 9 + 4
    assert not any(line.endswith(" " * 20) for line in out.splitlines())


def test_a_grid_that_stops_at_the_smallest_pool_says_so(tmp_path, command):
    rows = [(name, i, -i) for name, size in (("a", 8), ("b", 7), ("c", 8)) for i in range(size)]
    file = write(tmp_path / "s.csv", ["prompt", "proxy", "gold"], rows)
    words = "n stops at 7, the fewest samples of a prompt; --min-samples 8 would leave out 1 of 3 prompts"
    assert words in command("bon", file)[1]
    assert "n stops" not in command("bon", file, "--n", "1,4")[1]
    assert "n stops" not in command("bon", file, "--min-samples", "8")[1]


LOG = [
    row
    for step in range(0, 120, 5)
    for row in (
        {"global_step": step, "objective/kl": 0.5 * step, "objective/scores": 0.1 * step},
        *([{"global_step": step, "eval/gold": 1 - ((step - 40) / 20) ** 2}] if step % 10 == 0 else []),
    )
]


@pytest.mark.parametrize("is_state", [False, True], ids=["lines", "trainer_state.json"])
def test_evaluations_on_rows_of_their_own_are_joined_by_step(tmp_path, ask, command, is_state):
    file = tmp_path / "log"
    file.write_text(json.dumps({"log_history": LOG}, indent=2) if is_state else "\n".join(map(json.dumps, LOG)))
    names = ("--gold", "eval/gold", "--kl", "objective/kl", "--step", "global_step")
    found = ask("diagnose", file, *names, "--proxy", "objective/scores")
    assert found["joined"] == {"rows": 24, "into": 12, "by": "global_step"}
    assert (found["missing"], found["groups"][0]["points"], found["groups"][0]["verdict"]) == (12, 12, "overoptimized")
    found = ask("fit", file, *names)
    assert (found["joined"]["rows"], found["missing"], found["groups"][0]["points"]) == (24, 12, 11)
    _, out, _ = command("fit", file, *names)
    assert "24 rows joined into 12 by global_step" in out
    assert "12 rows dropped" in out
    status, _, err = command("fit", file, *names[:4])
    assert status == 2
    assert "--step COL joins rows that share a step" in err


def test_fit_joins_by_a_column_called_step_without_being_told(tmp_path, ask):
    d = [0.5 * k for k in range(1, 9)]
    rows = [row for k, x in enumerate(d) for row in ((k, x * x, ""), (k, "", x * (0.6 - 0.1 * x)))]
    found = ask("fit", write(tmp_path / "l.csv", ["step", "kl", "gold"], rows))
    assert found["joined"] == {"rows": 16, "into": 8, "by": "step"}
    assert found["groups"][0]["points"] == 8
    assert ask("fit", ROOT / "examples/rl.csv", "--group", "run")["joined"] is None


def test_two_values_at_one_step_are_refused_by_name(tmp_path, command):
    rows = [(1, 0.5, ""), (1, "", 2.0), (1, "", 3.0)]
    file = write(tmp_path / "l.csv", ["step", "proxy", "gold"], rows)
    status, _, err = command("diagnose", file)
    assert status == 2
    assert "step 1 has two values of gold" in err


def test_chosen_and_rejected_scores_need_no_labels(tmp_path, ask):
    rows = [(2, 1, "x", 3, 2), (1, 2, "x", 3, 5), (3, 2, "y", 1, 4), (1, 1, "y", 2, 2)]
    file = write(tmp_path / "p.csv", ["chosen_score", "rejected_score", "k", "la", "lb"], rows)
    names = ("--chosen", "chosen_score", "--rejected", "rejected_score")
    found = ask("eval-rm", "scores", file, *names, "--by", "k", "--len-a", "la", "--len-b", "lb")
    assert (found["accuracy"], found["longer_is_better"]) == (0.625, 0.375)
    assert {name: row["accuracy"] for name, row in found["by"].items()} == {"x": 0.5, "y": 0.75}


def test_labels_chosen_and_rejected_mean_what_the_names_of_the_columns_say(tmp_path, ask, command):
    rows = [(2, 1, "Chosen"), (2, 1, "chosen"), (2, 1, "rejected")]
    file = write(tmp_path / "p.csv", ["s_chosen", "s_rejected", "label"], rows)
    assert ask("eval-rm", "scores", file, "--a", "s_chosen", "--b", "s_rejected")["accuracy"] == pytest.approx(2 / 3)
    swapped = ask("eval-rm", "scores", file, "--b", "s_chosen", "--a", "s_rejected")
    assert swapped["accuracy"] == pytest.approx(2 / 3)
    file = write(tmp_path / "q.csv", ["a", "b", "label"], rows)
    status, _, err = command("eval-rm", "scores", file)
    assert status == 2
    assert "--chosen COL --rejected COL" in err


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("fitt",), "overopt: no such command 'fitt'. Did you mean 'fit'? See overopt --help\n"),
        (("bon",), "overopt: missing argument 'file'; see overopt bon --help\n"),
        (("bon", "x.csv", "--prmpt", "a"), "see overopt bon --help\n"),
        (("bon", "x.csv", "--level", "high"), "see overopt bon --help\n"),
        (("eval-rm", "scores"), "overopt: missing argument 'file'; see overopt eval-rm scores --help\n"),
        (("plan", "peak", "--alpha", "1"), "see overopt plan peak --help\n"),
    ],
)
def test_a_wrong_use_is_refused_in_one_line_that_names_the_help(command, args, line):
    status, out, err = command(*args)
    assert (status, out) == (2, "")
    assert err.startswith("overopt: ")
    assert err.endswith(line)
    assert err.count("\n") == 1


@pytest.mark.parametrize("args", [(), ("plan",), ("eval-rm",), ("--help",), ("bon", "--help")])
def test_help_stays_help(command, args):
    status, out, err = command(*args)
    assert status == (0 if "--help" in args else 2)
    assert "Usage: overopt" in out + err
    assert "overopt: " not in err


@pytest.mark.parametrize("args", [("bon",), ("fit",), ("diagnose",), ("eval-rm", "scores")])
def test_examples_of_the_help_use_real_options_and_no_file_of_the_repository(command, monkeypatch, args):
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = command(*args, "--help")
    example = re.search(r"Example: overopt (.*?)\s*\n", out)
    assert example is not None
    assert "examples/" not in out
    options = re.findall(r"--[a-z-]+", example[1])
    assert len(options) >= 3
    assert all(re.search(rf"{option}\b", out.split("Options")[1]) for option in options)


def test_an_interrupted_command_says_how_to_go_on(command, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("overopt.records.files.read_columns", interrupt)
    status, _, err = command("bon", "x.csv")
    assert (status, err) == (130, "overopt: stopped; the same command goes on where it stopped\n")


def test_the_page_of_a_plot_names_its_file_and_its_command(tmp_path, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    page = tmp_path / "p q.html"
    assert command("bon", "examples/bon.csv", "--n", "1,4,16", "--plot", page)[0] == 0
    text = page.read_text(encoding="utf-8")
    assert "<title>Best-of-n in bon.csv</title>" in text
    assert f"overopt bon examples/bon.csv --n 1,4,16 --plot &#39;{page}&#39;" in text


def test_standard_errors_reach_the_picture(tmp_path, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    for options, is_drawn in (((), False), (("--gold-se", "gold_se"), True)):
        page = tmp_path / "p.html"
        assert command("fit", "examples/rl.csv", "--group", "run", *options, "--plot", page)[0] == 0
        assert ("bars: ± one standard error" in page.read_text(encoding="utf-8")) is is_drawn


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


def test_a_plan_reads_without_two_colons(command):
    _, out, _ = command("plan", "rate", "--bound", "1e-4")
    first = out.splitlines()[0]
    assert first == ("29,956 episodes with 0 events or fewer; probability that the 95 % bound is at most 0.0001: 1")
    _, out, _ = command("plan", "rate", "--rate", "0.001", "--half-width", "0.5")
    assert out.splitlines()[0].count(":") == 1


def test_rows_of_one_step_are_one_point_of_a_fit_and_counted(tmp_path, ask, command):
    """A table of ``overopt rl`` has one row a reply; each reply's own KL is no distance of the policy."""
    kls = (0, 0.5, 1, 2, 4, 6, 9)
    curve = [(step, kl, kl**0.5 * (1 - 0.4 * kl**0.5)) for step, kl in enumerate(kls)]
    spread = [[step, kl * factor, gold + shift] for step, kl, gold in curve for factor, shift in ((0.5, 1), (1.5, -1))]
    file = write(tmp_path / "r.csv", ["step", "kl", "gold"], spread)
    found = ask("fit", file, "--law", "bon")
    assert found["averaged"] == {"rows": 14, "into": 7, "by": "step"}
    (fit,) = found["groups"]
    assert (fit["alpha"], fit["beta"]) == pytest.approx((1.0, 0.4), abs=1e-9)
    assert "14 rows averaged into 7 by step; if they are several runs, --group COL" in command("fit", file)[1]
    alone = write(tmp_path / "c.csv", ["step", "kl", "gold"], [list(row) for row in curve])
    assert ask("fit", alone, "--law", "bon")["averaged"] is None


def test_rows_averaged_by_diagnose_are_counted(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert (
        "51 rows averaged into 17 steps; if they are several runs, --group COL"
        in command("diagnose", "examples/rl.csv")[1]
    )
    assert "averaged" not in command("diagnose", "examples/rl.csv", "--group", "run")[1]


@pytest.mark.parametrize("gold", [0.1, 1 / 3, -2.3])
def test_constant_gold_has_not_fallen(tmp_path, ask, gold):
    rows = [[prompt, (7 * prompt + 3 * i) % 11 + i / 100, gold] for prompt in range(20) for i in range(40)]
    found = ask("bon", write(tmp_path / "s.csv", ["prompt", "proxy", "gold"], rows))
    assert found["verdict"] == "not_overoptimized"
    assert found["drop"]["drop"] == 0
    assert {point["gain"] for point in found["curve"]} == {0}


def test_a_plan_at_the_edge_of_what_is_possible(ask, command):
    assert ask("plan", "compare", "--first", ".75", "--second", ".72", "--discordance", ".03")["needed"] > 100
    status, _, err = command("plan", "peak", "--alpha", ".6", "--beta", ".2", "--half-width", "1e-5")
    assert (status, err.count("\n")) == (2, 1)
    assert "more than 1,000,000,000 prompts would be needed" in err
    status, _, err = command("plan", "compare", "--first", ".75", "--second", ".72", "--difference", ".1")
    assert status == 2
    assert "one question" in err


def test_samples_of_several_policies_are_noted(tmp_path, ask, command):
    rows = [[prompt, i % 2, i, -i] for prompt in range(5) for i in range(8)]
    file = write(tmp_path / "s.csv", ["prompt", "step", "proxy", "gold"], rows)
    assert ask("bon", file)["steps"] == 2
    assert "the file has samples of 2 steps" in command("bon", file)[1]
    one = write(tmp_path / "t.csv", ["prompt", "step", "proxy", "gold"], [[p, 3, x, y] for p, _, x, y in rows])
    assert "samples of" not in command("bon", one)[1]
