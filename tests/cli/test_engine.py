"""The commands that run models, on the smallest shipped one, as a user would call them."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from overopt.assets.catalog import model_path
from overopt.records.tables import read_table, settings_of
from tests.conftest import overopt

PROMPTS = [f"{text} {n}" for n in range(12) for text in ("How are you today?", "What did you eat?", "Do you like it?")]


RL = ("rl", "{model}", "{prompts}", "--proxy", "rubric", "--out", "{out}")
SMALL = ("--set", "held_out=8", "--set", "rl.prompts_per_step=8")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("engine") / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in PROMPTS))
    return path


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """A reward model that loves the first tokens of the vocabulary, in a folder anyone could have."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tmp_path_factory.mktemp("proxy") / "rm"
    model = AutoModelForSequenceClassification.from_pretrained(model_path(8), num_labels=1)
    with torch.no_grad():
        model.score.weight.copy_(torch.linspace(-1, 1, 8)[None])
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_path(8)).save_pretrained(folder)
    return folder


def done(*arguments):
    result = overopt(*arguments)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture(scope="module")
def sampled(prompts):
    out = prompts.parent / "samples.parquet"
    result = done(
        "sample", model_path(64), prompts, "--limit", 6, "--n", 8, "--max-tokens", 12, "--reference", model_path(64),
        "--out", out, "--json",
    )  # fmt: skip
    return out, json.loads(result.stdout)


def test_sample_leaves_the_record_and_a_summary(sampled):
    out, summary = sampled
    table, settings = read_table(out, "replies"), settings_of(out, "replies")
    assert (summary["schema"], summary["replies"], len(table)) == ("overopt.sample/1", 48, 48)
    assert table["prompt_id"].unique().sort().to_list() == ["0", "1", "2", "3", "4", "5"]
    assert table["length"].max() <= 12
    assert summary["kl"] == pytest.approx(0, abs=1e-4)  # the reference is the policy
    np.testing.assert_allclose(table["policy_logprob"], table["reference_logprob"], atol=1e-4)
    assert settings["sampler"]["max_tokens"] == 12
    assert settings["sampler"]["temperature"] == 1.0


def test_scores_go_beside_the_replies_and_into_bon(sampled, proxy, tmp_path):
    out, _ = sampled
    scored = tmp_path / "scored.parquet"
    done("score", out, "--scorer", f"proxy={proxy}", "--scorer", "gold=rubric", "--out", scored)
    table = pl.read_parquet(scored)
    assert table["completion"].to_list() == read_table(out, "replies")["completion"].to_list()
    report = json.loads(
        done("bon", scored, "--prompt", "prompt_id", "--proxy", "proxy", "--gold", "gold", "--json").stdout
    )
    assert (report["prompts"], report["samples_per_prompt"]) == (6, {"min": 8, "max": 8})


@pytest.fixture(scope="module")
def trained(prompts, proxy):
    out = prompts.parent / "run"
    return out, arguments_of_run(prompts, proxy, out), json.loads(done(*arguments_of_run(prompts, proxy, out)).stdout)


def arguments_of_run(prompts, proxy, out, *more):
    settings = ("held_out=8", "replies=2", "rl.prompts_per_step=8", "rl.measure_every=1", "sampler.max_tokens=8", *more)
    command = (
        "rl",
        model_path(64),
        prompts,
        "--proxy",
        proxy,
        "--gold",
        "rubric",
        "--out",
        out,
        "--steps",
        4,
        "--json",
    )
    return command + tuple(word for setting in settings for word in ("--set", setting))


def test_rl_leaves_tables_model_and_report(trained):
    out, _, summary = trained
    assert (summary["schema"], summary["steps"], summary["stopped"]) == ("overopt.rl/1", 4, None)
    curve, replies = (
        read_table(out / "tables/curve.parquet", "rl_curve"),
        read_table(out / "tables/rl.parquet", "rl_replies"),
    )
    assert curve["step"].to_list() == [0, 1, 2, 3, 4]
    assert replies["prompt_id"].n_unique() == 8
    by_hand = replies.filter(pl.col("step") == 4).group_by("prompt_id").agg(pl.col("gold", "kl", "proxy").mean())
    for name in ("gold", "kl", "proxy"):
        values = by_hand[name].to_numpy()
        assert curve[name][-1] == pytest.approx(values.mean())
        assert curve[f"{name}_se"][-1] == pytest.approx(values.std(ddof=1) / np.sqrt(8))
    assert (out / "report.html").stat().st_size > 10_000
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(out / "model").num_parameters() > 0


def test_held_out_prompts_are_never_trained_on(trained):
    out, _, _ = trained
    held_out = set(read_table(out / "tables/rl.parquet", "rl_replies")["prompt"].unique())
    assert len(held_out) == 8
    assert held_out < set(PROMPTS)


def test_other_commands_read_what_rl_leaves(trained):
    out, _, _ = trained
    curve = out / "tables/curve.parquet"
    assert json.loads(done("fit", curve, "--kl", "kl", "--gold", "gold", "--json").stdout)["schema"] == "overopt.fit/1"
    report = json.loads(
        done("diagnose", curve, "--step", "step", "--proxy", "proxy", "--gold", "gold", "--kl", "kl", "--json").stdout
    )
    assert report["groups"][0]["points"] == 5
    before = (out / "results.json").read_bytes()
    done("report", out)
    assert (out / "results.json").read_bytes() == before


def test_the_same_command_again_does_nothing_twice(trained):
    out, arguments, summary = trained
    marks = {path: path.stat().st_mtime_ns for path in (out / "measurements").glob("*.parquet")}
    again = json.loads(done(*arguments).stdout)
    assert again["last"] == summary["last"]
    assert {path: path.stat().st_mtime_ns for path in (out / "measurements").glob("*.parquet")} == marks


def test_a_measurement_that_is_lost_is_named(trained, prompts, proxy, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "run")
    before = (folder / "tables/curve.parquet").read_bytes()
    lost = sorted((folder / "measurements").glob("step-*.parquet"))[1]
    lost.unlink()
    result = overopt(*arguments_of_run(prompts, proxy, folder))
    assert result.returncode == 2
    assert f"lacks the measurements of step {int(lost.stem[-6:])}, and their policies are gone" in result.stderr
    assert (folder / "tables/curve.parquet").read_bytes() == before


def test_a_run_that_was_cut_short_goes_on_as_if_it_had_not(trained, prompts, proxy, tmp_path):
    """A killed run: the last checkpoint and what was measured after it are gone."""
    _, _, summary = trained
    arguments = arguments_of_run(prompts, proxy, tmp_path / "run", "rl.checkpoint_every=2")
    done(*arguments)
    shutil.rmtree(sorted((tmp_path / "run/checkpoints").glob("step-*"))[-1])
    for path in (tmp_path / "run/measurements").glob("step-*[34].parquet"):
        path.unlink()
    shutil.rmtree(tmp_path / "run/tables")
    assert json.loads(done(*arguments).stdout)["last"] == summary["last"]


SHORT = (
    "held_out=6", "replies=2", "rl.prompts_per_step=4", "rl.group=2", "rl.steps=2", "rl.measure_every=1",
    "sampler.max_tokens=6",
)  # fmt: skip


def short_run(prompts, out, *settings):
    words = [word for setting in (*SHORT, *settings) for word in ("--set", setting)]
    return ("rl", model_path(8), prompts, "--proxy", "rubric", "--out", out, "--limit", 12, *words)


def test_what_a_run_must_be_read_with_is_said_and_stored(prompts, tmp_path):
    """On standard error, a line each; in the summary and with the replies."""
    settings = ("rl.kl_coef=0.1", "rl.kl_estimator=k3", "rl.kl_in=reward", 'shape=["clip:-3:3","running"]')
    result = done(*short_run(prompts, tmp_path / "run", *settings), "--json")
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        "overopt: warning: rl.kl_estimator k3 in the reward does not have the gradient of the KL"
    )
    assert lines[1].startswith("overopt: warning: shape running drifts")
    summary = json.loads(result.stdout)
    assert [f"overopt: warning: {sentence}" for sentence in summary["caveats"]] == lines
    assert summary["notes"] == []
    assert json.loads((tmp_path / "run/summary.json").read_text())["caveats"] == summary["caveats"]
    stored = settings_of(tmp_path / "run/tables/rl.parquet", "rl_replies")
    assert stored["caveats"] == summary["caveats"]
    table = read_table(tmp_path / "run/tables/rl.parquet", "rl_replies")
    assert table.filter(pl.col("step") == 0)["shaped"].is_nan().all()
    assert table.filter(pl.col("step") > 0)["shaped"].is_finite().all()


def test_rewards_that_drift_go_on_where_a_run_was_cut_short(prompts, tmp_path):
    arguments = short_run(prompts, tmp_path / "run", "rl.checkpoint_every=1", 'shape=["running"]')
    done(*arguments)
    curve = read_table(tmp_path / "run/tables/curve.parquet", "rl_curve")
    shutil.rmtree(tmp_path / "run/checkpoints/step-000002")
    (tmp_path / "run/measurements/step-000002.parquet").unlink()
    done(*arguments)
    assert read_table(tmp_path / "run/tables/curve.parquet", "rl_curve").equals(curve)


def test_a_run_that_needs_no_word_has_none(prompts, tmp_path):
    result = done(*short_run(prompts, tmp_path / "run", "rl.kl_coef=0.1"))
    assert result.stderr == ""
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["caveats"] == summary["notes"] == []
    assert summary["last"]["gold"] is None
    assert "caveats" not in result.stdout


def test_a_damaged_checkpoint_is_told(prompts, tmp_path):
    arguments = short_run(prompts, tmp_path / "run", "rl.checkpoint_every=1")
    done(*arguments)
    (tmp_path / "run/checkpoints/step-000002/weights.safetensors").write_bytes(b"")
    (line,) = done(*arguments).stderr.splitlines()
    assert line.startswith("overopt: warning: the checkpoint ")
    assert line.endswith("and was passed over")


def test_two_processes_leave_one_run(prompts, tmp_path):
    """Started by a launcher: one folder, one summary, and the numbers of a single process."""
    settings = ("rl.steps=1", "rl.precision=fp32", "rl.kl_coef=0.1", "rl.kl_estimator=k2")
    alone = json.loads(done(*short_run(prompts, tmp_path / "one", *settings), "--json").stdout)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "overopt",
        *map(str, short_run(prompts, tmp_path / "two", *settings)), "--json",
    ]  # fmt: skip
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=200)
    assert result.returncode == 0, result.stderr[-3_000:]
    assert result.stderr.count("overopt: warning: rl.kl_estimator k2") == 1
    shared = json.loads(result.stdout)
    for name in ("kl", "proxy", "entropy", "length"):
        assert shared["last"][name] == pytest.approx(alone["last"][name], abs=0.02, rel=0.02)
    assert read_table(tmp_path / "two/tables/rl.parquet", "rl_replies")["step"].unique().to_list() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "nowhere/at/all", "{prompts}", "--out", "{out}"), "nowhere/at/all"),
        (("sample", "{model}", "absent.jsonl", "--out", "{out}"), "cannot read absent.jsonl"),
        (("sample", "{model}", "{prompts}", "--out", "{out}", "--max-tokens", 4_000), "4000"),
        (("sample", "{model}", "{prompts}", "--out", "{out}", "--temperature", 0), "temperature"),
        (("sample", "{model}", "{prompts}", "--out", "{out}", "--engine", "other"), "no engine 'other'"),
        (("sample", "{model}", "{prompts}", "--out", "{out}", "--engine", "server"), "--url"),
        (("sample", "{model}", "{prompts}", "--out", "{out}", "--stop", "two words"), "single tokens"),
        (("sample", "{model}", "{prompts}", "--out", "{out}", "--device", "warp"), "device"),
        (("score", "{prompts}", "--scorer", "gold=rubric", "--out", "{out}"), "no column 'completion'"),
        (("score", "{prompts}", "--scorer", "rubric", "--out", "{out}"), "NAME=SCORER"),
        (("sample", "{model}", "{prompts}", "--out", "{out}", "--engine", "vllm"), "vllm"),
        (("sample", "{model}", "{prompts}", "--out", "{out}.csv"), "written as Parquet"),
        (("score", "{prompts}", "--scorer", "gold=judge:absent.json", "--out", "{out}"), "no column 'completion'"),
        ((*RL, "--set", "rl.stepz=3"), "rl.stepz"),
        ((*RL, "--steps", 2, "--set", "rl.steps=3"), "one thing twice"),
        (RL, "held out"),
        ((*RL, "--stop-rule", "drops:2", *SMALL), "watches gold"),
        ((*RL, "--set", 'shape=["odd"]', *SMALL), "a shape is"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_one_sentence(prompts, refused, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    places = {"prompts": prompts, "out": tmp_path / "out", "model": model_path(8)}
    refused(*(str(word).format(**places) if "{" in str(word) else word for word in arguments), words=message)


def test_a_run_without_gold_leaves_valid_json_and_no_line_of_gold(prompts, tmp_path):
    found = done(*short_run(prompts, tmp_path / "run"), "--json").stdout
    assert json.loads(found, parse_constant=pytest.fail)["last"]["gold"] is None
    assert "\n gold " not in done(*short_run(prompts, tmp_path / "run")).stdout


def test_help_says_what_is_taken_by_default():
    assert "by default all" in " ".join(overopt("sample", "--help").stdout.replace("│", " ").split())


def test_a_judge_with_an_unknown_setting_is_told_the_known_ones(tmp_path):
    settings, replies = tmp_path / "judge.json", tmp_path / "replies.jsonl"
    settings.write_text(json.dumps({"model": "m", "url": "http://localhost"}), encoding="utf-8")
    replies.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n", encoding="utf-8")
    result = overopt("score", replies, "--scorer", f"gold=judge:{settings}", "--out", tmp_path / "out.parquet")
    assert result.returncode == 2
    assert "there is no setting 'url'; the settings are model, base_url" in result.stderr
