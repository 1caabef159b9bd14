"""Studies with questions, from the command to the pages: all answered, nothing made twice, no torch for the report."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from studies.test_end_to_end import WITHOUT_TORCH

from overopt.studies.catalog import STUDIES

QUESTIONS = {
    "gao2022": [
        "sizes", "data", "policies", "penalties", "stopping", "extrapolation", "methods", "distance", "epochs",
        "labels", "recalibration", "entropy", "texts", "goodhart", "rounds",
    ],
    "mitigations": ["clean", "noisy"],
    "grm2024": ["accuracy", "alpha", "noise", "best-of-n", "ppo", "prediction"],
    "denison2024": [
        "matrix", "dose", "estimators", "methods", "order", "prompts", "away", "steering", "mixing", "mitigations",
        "monitors", "pressure", "episodes",
    ],
}  # fmt: skip


def overopt(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "overopt", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", params=list(QUESTIONS))
def finished(request, tmp_path_factory):
    """The smoke preset of a study, run once."""
    folder = tmp_path_factory.mktemp(request.param)
    result = overopt("run", request.param, "--preset", "smoke", "--out", folder / "run")
    assert result.returncode == 0, result.stderr[-3_000:]
    return request.param, folder / "run"


def results_of(folder: Path) -> dict:
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    del results["timings"]
    return results


def test_every_study_is_in_the_catalog():
    assert {"chitchat", *QUESTIONS} == set(STUDIES)


def test_no_answer_needs_torch():
    """Reports are made anew where only the light core is installed."""
    imports = "; ".join(
        f"answer_of({study!r}, {question!r})" for study, questions in QUESTIONS.items() for question in questions
    )
    code = f"from overopt.studies.question_results import answer_of; {imports}"
    blocked = WITHOUT_TORCH.replace("from overopt.cli.main import main\nmain()", code)
    assert blocked != WITHOUT_TORCH
    result = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2_000:]


@pytest.mark.slow
def test_every_question_is_answered_with_claims_that_follow_from_their_intervals(finished):
    study, folder = finished
    results = results_of(folder)
    assert results["schema"] == "overopt.study/1"
    assert [question["id"] for question in results["questions"]] == QUESTIONS[study]
    assert results["unanswered"] == {}
    claims = [claim for question in results["questions"] for claim in question["claims"]]
    assert len({claim["id"] for claim in claims}) == len(claims)
    for claim in claims:
        low, high = claim["ci"]
        if claim["outcome"] == "above":
            assert low > claim["reference"]
        if claim["outcome"] == "below":
            assert high < claim["reference"]
        assert claim["sentence"]
        assert claim["value"] is not None or claim["note"], claim["id"]
    assert all(run["curve"] for run in results.get("rl", []))
    assert all(group["fit"] for group in results.get("bon", []))


@pytest.mark.slow
def test_every_question_has_a_page_and_every_figure_three_files(finished):
    study, folder = finished
    front = (folder / "report.html").read_text(encoding="utf-8")
    for question in results_of(folder)["questions"]:
        page = (folder / "report" / f"{question['id']}.html").read_text(encoding="utf-8")
        assert question["question"].partition("'")[0] in page
        assert f"report/{question['id']}.html" in front
        assert f"overopt run {study} --preset smoke" in page
        for figure in question["figures"]:
            assert all(
                (folder / "report/figures" / f"{figure['name']}.{kind}").stat().st_size for kind in ("svg", "png")
            )
            with (folder / "report/tables" / f"{figure['name']}.csv").open(encoding="utf-8", newline="") as file:
                assert len(list(csv.reader(file))) == len(figure["rows"]) + 1
        assert question["figures"]


@pytest.mark.slow
def test_a_second_call_makes_nothing_again_and_says_the_same(finished):
    study, folder = finished
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "store").iterdir()}
    was = results_of(folder)
    result = overopt("run", study, "--preset", "smoke", "--out", folder)
    assert result.returncode == 0, result.stderr[-3_000:]
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "store").iterdir()} == before
    assert results_of(folder) == was


@pytest.mark.slow
def test_the_report_is_made_anew_from_the_tables_without_torch(finished):
    _, folder = finished
    was = results_of(folder)
    (folder / "report.html").unlink()
    command = [sys.executable, "-c", WITHOUT_TORCH, "report", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3_000:]
    assert results_of(folder) == was
    assert (folder / "report.html").exists()


@pytest.mark.slow
def test_one_question_alone_is_made_and_answered(tmp_path):
    result = overopt("run", "gao2022", "--preset", "smoke", "--only", "epochs", "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr[-3_000:]
    results = results_of(tmp_path / "run")
    assert [question["id"] for question in results["questions"]] == ["epochs"]
    assert not (tmp_path / "run/tables/rl").exists()
    assert "report/epochs.html" in (tmp_path / "run/report.html").read_text(encoding="utf-8")
