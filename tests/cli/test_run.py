"""``overopt run`` besides running: what it would do, doing a part, and where."""

import json

import pytest
from conftest import overopt

from overopt.errors import ConfigError
from overopt.studies.catalog import STUDIES, build_study
from overopt.studies.runner import LOCK
from overopt.workflow import plan

SMOKE = ("run", "--preset", "smoke")


@pytest.fixture(scope="module")
def study():
    return build_study("chitchat", "smoke")


def test_every_study_of_the_catalog_can_be_built():
    for name in STUDIES:
        assert build_study(name, "smoke").name == name


def test_a_dry_run_makes_nothing(command, tmp_path, study):
    status, out, err = command(*SMOKE, "--dry-run", "--json", "--out", tmp_path / "study", "--workers", "2")
    assert status == 0, err
    found = json.loads(out)
    assert found["schema"] == "overopt.dry_run/1"
    assert (found["done"], found["to_make"]) == (0, len(plan(study.stages())))
    assert [stage["key"] for stage in found["missing"]] == [stage.key for stage in plan(study.stages())]
    assert found["wall_s"] < found["work_s"] < 2 * found["wall_s"] + 1
    assert "the cost hints of the study" in found["rests_on"]
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_takes_times_from_what_is_there(command, smoke_copy, study):
    scores = [path for path in (smoke_copy / "store").iterdir() if path.name.startswith("study.scores-")]
    for path in scores[:2]:
        path.rename(smoke_copy / path.name)
    status, out, err = command(*SMOKE, "--dry-run", "--out", smoke_copy)
    assert status == 0, err
    assert "20 of 22 stages are done" in out
    assert "finished stages of the same function in this plan (2 stages)" in out


def test_the_keys_of_the_plan_are_written_beside_the_results(smoke, study):
    found = json.loads((smoke / "plan.json").read_text(encoding="utf-8"))
    assert found == {"schema": "overopt.plan_keys/1", "keys": [stage.key for stage in plan(study.stages())]}


def test_a_part_can_be_made_alone_somewhere_else(tmp_path, study):
    folder, store = tmp_path / "study", tmp_path / "elsewhere"
    result = overopt(*SMOKE, "--only", "prompts", "--out", folder, "--store", store, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert [stage["label"] for stage in found["made"]] == ["prompts"]
    assert found["missing"] == len(plan(study.stages())) - 1
    assert sorted(path.name for path in folder.iterdir() if path.name != LOCK) == ["plan.json", "study.json"]
    assert len(list(store.iterdir())) == 1
    again = overopt(*SMOKE, "--only", "prompt?", "--out", folder, "--store", store)
    assert again.returncode == 0
    assert "started" not in again.stderr
    assert "Made prompts. 21 other stages of chitchat are not made, so there is no report" in again.stdout


def test_a_part_that_completes_the_study_ends_with_its_report(smoke_copy):
    (smoke_copy / "report.html").unlink()
    result = overopt(*SMOKE, "--only", "prompts", "--out", smoke_copy)
    assert result.returncode == 0, result.stderr
    assert (smoke_copy / "report.html").exists()


@pytest.mark.parametrize(
    ("patterns", "labels"),
    [
        (["best-of-n pool"], ["best-of-n pool"]),
        (["scores w8-p800-s?"], ["scores w8-p800-s0", "scores w8-p800-s1"]),
        (["scores/w8-p200-s0.parquet"], ["scores w8-p200-s0"]),
        (["policies/*", "prompts"], ["prompts", "RL w8-p800-s0"]),
    ],
)
def test_patterns_name_stages_tables_and_models(study, patterns, labels):
    assert [stage.label for stage in study.selected(patterns)] == labels


def test_a_question_stands_for_its_tables(study):
    from dataclasses import replace

    asking = replace(study, questions={"why": ["prompts.parquet", "pool.parquet"]})
    assert [stage.label for stage in asking.selected(["why"])] == ["prompts", "best-of-n pool"]


def test_a_pattern_that_names_nothing_is_answered_with_near_names(study):
    with pytest.raises(ConfigError, match=r"is called 'best of n pool'; near are 'best-of-n pool'"):
        study.selected(["prompts", "best of n pool"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chitchta"], "there is no study 'chitchta'; did you mean chitchat?"),
        (["--ray-address", "host:1"], "--ray-address is for --executor ray"),
        (["--only", "nothing"], "is called 'nothing'; near are"),
    ],
)
def test_wrong_requests_leave_nothing(refused, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    refused("run", *arguments, words=words)
    assert list(tmp_path.iterdir()) == []
