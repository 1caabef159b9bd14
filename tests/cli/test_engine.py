"""The commands that run models, on the smallest shipped one, as a user would call them."""

import json
import shutil

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
        ((*RL, "--set", "rl.stepz=3"), "rl.stepz"),
        (RL, "held out"),
        ((*RL, "--stop-rule", "drops:2", *SMALL), "watches gold"),
        ((*RL, "--set", 'shape=["odd"]', *SMALL), "a shape is"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_one_sentence(prompts, tmp_path, arguments, message):
    places = {"prompts": prompts, "out": tmp_path / "out", "model": model_path(8)}
    result = overopt(*(str(word).format(**places) if "{" in str(word) else word for word in arguments))
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
