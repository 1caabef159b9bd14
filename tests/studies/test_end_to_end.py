"""What a run leaves behind: numbers that can be rebuilt, models that load, results that survive being killed."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from overopt.records.tables import GOLD_PARTS, read_table, settings_of
from overopt.rewards.rubric import GoldRubric
from overopt.studies import runner
from overopt.studies.catalog import build_study

COMMAND = [sys.executable, "-m", "overopt", "run", "--preset", "smoke", "--out"]
WITHOUT_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "tokenizers", "safetensors"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
from overopt.cli.main import main
main()
"""


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, str(folder)], capture_output=True, text=True, check=False)


def numbers(folder: Path) -> dict[str, object]:
    """``results.json`` without what may differ between two runs."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    del results["timings"]
    return results


def tables(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted((folder / "tables").rglob("*.parquet"))}


def test_the_results_hold_every_part(smoke):
    results = numbers(smoke)
    assert results["schema"] == "overopt.study/1"
    assert {
        "study",
        "preset",
        "seed",
        "settings",
        "level",
        "data",
        "base",
        "proxies",
        "bon",
        "rl",
        "trends",
        "ladder",
        "versions",
    } <= set(results)
    assert len(results["proxies"]) == 9
    assert [run["group"] for run in results["rl"]] == ["w8-p800-s0"]
    assert all(group["curve"][0]["gold"] == 0 for group in results["bon"])


def test_numbers_are_rebuilt_from_the_tables_without_torch(smoke, smoke_copy):
    (smoke_copy / "results.json").unlink()
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "report", str(smoke_copy)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert numbers(smoke_copy) == numbers(smoke)


def test_a_second_call_redoes_nothing(smoke_copy, smoke):
    before = {p.name: p.stat().st_mtime_ns for p in (smoke_copy / "store").iterdir()}
    result = run(smoke_copy)
    assert result.returncode == 0, result.stderr
    assert "started" not in result.stderr
    assert {p.name: p.stat().st_mtime_ns for p in (smoke_copy / "store").iterdir()} == before
    assert numbers(smoke_copy) == numbers(smoke)


def test_two_drivers_of_one_folder_write_it_one_after_the_other(smoke_copy, smoke, monkeypatch):
    inside, most = [], []
    write = runner._export

    def slowly(*arguments):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.2)
        write(*arguments)
        inside.pop()

    monkeypatch.setattr(runner, "_export", slowly)
    study = build_study("chitchat", "smoke")
    with ThreadPoolExecutor(2) as pool:
        drivers = [pool.submit(runner.run_study, study, smoke_copy, workers=1) for _ in range(2)]
        for driver in drivers:
            driver.result()
    assert most == [1] * 4
    assert numbers(smoke_copy) == numbers(smoke)
    assert tables(smoke_copy) == tables(smoke)


def test_drivers_that_begin_at_once_share_a_new_folder(tmp_path):
    study = build_study("chitchat", "smoke")
    for attempt in range(5):
        start = threading.Barrier(8)

        def claim(folder, start=start):
            start.wait()
            runner.claim_folder(study, folder)

        with ThreadPoolExecutor(8) as pool:
            for driver in [pool.submit(claim, tmp_path / f"run{attempt}") for _ in range(8)]:
                driver.result()


def test_a_damaged_file_is_named_and_made_again(smoke_copy, smoke):
    (scores,) = (smoke_copy / "store").glob("study.preferences-*/preferences.parquet")
    content = bytearray(scores.read_bytes())
    content[len(content) // 2] ^= 1
    scores.write_bytes(content)
    result = run(smoke_copy)
    assert result.returncode == 0, result.stderr
    assert "preferences.parquet" in result.stderr
    assert numbers(smoke_copy) == numbers(smoke)
    assert tables(smoke_copy) == tables(smoke)


@pytest.mark.slow
def test_two_runs_with_one_seed_give_the_same_bytes(smoke, tmp_path):
    assert run(tmp_path / "again").returncode == 0
    assert tables(tmp_path / "again") == tables(smoke)
    assert numbers(tmp_path / "again") == numbers(smoke)


def test_gold_in_the_tables_is_the_rubric_of_the_stored_text(smoke):
    for path, kind in (
        (smoke / "tables/pool.parquet", "samples"),
        (smoke / "tables/rl/w8-p800-s0.parquet", "rl_steps"),
    ):
        table = read_table(path, kind)
        again = GoldRubric().score_parts(table["prompt"].to_list(), table["completion"].to_list())
        np.testing.assert_array_equal(table["gold"].to_numpy(), again.total)
        for part, column in GOLD_PARTS.items():
            np.testing.assert_array_equal(table[column].to_numpy(), again.parts[part])


def test_pairs_are_ordered_by_gold_and_none_is_tied(smoke):
    pairs = read_table(smoke / "tables/preferences.parquet", "preferences")
    rubric = GoldRubric()
    chosen = rubric.score(pairs["prompt"].to_list(), pairs["chosen"].to_list())
    rejected = rubric.score(pairs["prompt"].to_list(), pairs["rejected"].to_list())
    assert (chosen > rejected).all()
    settings = settings_of(smoke / "tables/preferences.parquet", "preferences")
    assert settings["gold_ties"] == settings["comparisons"] - len(pairs)


def test_models_load_with_transformers_and_give_the_stored_scores(smoke):
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    pool = read_table(smoke / "tables/pool.parquet", "samples").sample(40, seed=0)
    for folder in sorted((smoke / "models/proxies").iterdir())[::4]:
        model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        tokenizer = AutoTokenizer.from_pretrained(folder)
        stored = read_table(smoke / f"tables/scores/{folder.name}.parquet", "scores")
        expected = pool.join(stored, on=["prompt_id", "sample_id"], how="left", maintain_order="left")["proxy"]
        for row, score in zip(pool.iter_rows(named=True), expected, strict=True):
            ids = tokenizer(row["prompt"])["input_ids"]
            ids += tokenizer(row["completion"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
            with torch.no_grad():
                assert model.eval()(torch.tensor([ids])).logits.item() == pytest.approx(score, abs=1e-5)
    policy = AutoModelForCausalLM.from_pretrained(smoke / "models/policies/w8-p800-s0")
    assert policy.num_parameters() == 279_744


def test_kl_is_zero_before_the_first_step_and_grows(smoke):
    table = read_table(smoke / "tables/rl/w8-p800-s0.parquet", "rl_steps")
    assert (table.filter(pl.col("step") == 0)["kl"] == 0).all()
    assert (table["kl"] >= -1e-6).all()
    last = table.filter(pl.col("step") == table["step"].max())
    assert last["kl"].mean() > 1
    # k1, the mean log-ratio, estimates the same KL.
    k1 = last["policy_logprob"] - last["reference_logprob"]
    assert abs((k1 - last["kl"]).mean()) < 4 * (k1 - last["kl"]).std() / len(last) ** 0.5


def test_no_conversation_of_the_evaluation_is_trained_on(smoke):
    prompts = read_table(smoke / "tables/prompts.parquet", "prompts")
    evaluation = prompts.filter(pl.col("split") == "evaluation")["conversation"]
    assert evaluation.n_unique() == len(evaluation) == 16
    assert not set(evaluation) & set(prompts.filter(pl.col("split") == "preference")["conversation"])


def test_samples_carry_the_settings_they_were_drawn_with(smoke):
    settings = settings_of(smoke / "tables/pool.parquet", "samples")
    assert settings["sampler"] == {"max_tokens": 32, "temperature": 1.0, "top_k": None, "top_p": 1.0, "stop": []}
    assert {"policy", "policy_files", "engine", "dtype", "seed"} <= set(settings)


def test_the_ladder_shows_the_best_of_the_first_n(smoke):
    results = numbers(smoke)
    scores = read_table(smoke / "tables/scores/w8-p800-s0.parquet", "scores")
    pool = read_table(smoke / "tables/pool.parquet", "samples")
    for rung in [rung for rung in results["ladder"] if rung["method"] == "bon"]:
        for row in rung["rows"]:
            among = scores.filter((pl.col("prompt_id") == rung["prompt_id"]) & (pl.col("sample_id") < row["x"]))
            best = among.sort("proxy", "sample_id", descending=[True, False]).row(0, named=True)
            text = pool.filter((pl.col("prompt_id") == best["prompt_id"]) & (pl.col("sample_id") == best["sample_id"]))[
                "completion"
            ].item()
            assert row["completion"] == text


def test_the_terminal_says_what_was_found_and_where_the_report_is(smoke_run):
    folder, said = smoke_run
    assert "Best-of-n" in said
    assert "RL" in said
    assert str(folder / "report.html") in said.replace("\n", "")
    assert (folder / "report.html").stat().st_size > 100_000
