"""What is recorded beside a result."""

import os
import platform
import subprocess
import time

import pytest
import toy_stages as toy

from overopt.workflow import Stage, Store
from overopt.workflow.provenance import git_state, provenance, seeds


def git(folder, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A checkout with the package in its folder ``src``."""
    folder = tmp_path / "checkout"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "code.py").write_text("a = 1\n")
    (folder / "notes.txt").write_text("notes\n")
    (folder / ".gitignore").write_text("installed\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return folder


def test_a_checkout_is_named_by_its_commit_and_is_clean(checkout):
    assert git_state(checkout / "src") == {"commit": git(checkout, "rev-parse", "HEAD"), "is_dirty": False}


def test_a_change_or_a_new_file_in_the_code_makes_it_dirty_and_one_elsewhere_does_not(checkout):
    (checkout / "notes.txt").write_text("changed\n")
    assert git_state(checkout / "src")["is_dirty"] is False
    (checkout / "src" / "new.py").touch()
    assert git_state(checkout / "src")["is_dirty"] is True
    (checkout / "src" / "new.py").unlink()
    (checkout / "src" / "code.py").write_text("a = 2\n")
    assert git_state(checkout / "src")["is_dirty"] is True


def test_a_package_installed_inside_somebody_elses_checkout_has_no_commit(checkout):
    (checkout / "installed").mkdir()
    (checkout / "installed" / "code.py").touch()
    assert git_state(checkout / "installed") is None


def test_no_checkout_no_commit_and_no_git_are_no_failure(tmp_path, monkeypatch):
    (tmp_path / "plain").mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert git_state(tmp_path / "plain") is None
    git(tmp_path / "plain", "init", "-q")
    assert git_state(tmp_path / "plain") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path / "plain") is None


def test_a_hook_that_runs_a_study_does_not_lead_git_astray(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert git_state(checkout / "src") is not None


def test_seeds_are_found_at_any_depth_and_nothing_else_is():
    parameters = {
        "seed": 3,
        "sampling_seed": 4,
        "seeds": [1, 2],
        "settings": {"$class": "S", "seed": 5, "rate": 0.1, "parts": [{"noise_seed": None}, 7]},
        "reseeded": True,
    }
    assert seeds(parameters) == {"seed": 3, "sampling_seed": 4, "settings.seed": 5, "settings.parts.0.noise_seed": None}


def test_the_machine_is_described_and_what_is_not_known_is_none():
    origin = provenance(started=0.0, wall_s=1.23456)
    assert origin["host"] == platform.node()
    assert origin["cpus"] == os.cpu_count()
    assert origin["os"] == platform.platform()
    assert origin["started"] == "1970-01-01T00:00:00+00:00"
    assert origin["wall_s"] == 1.235
    assert origin["attempt"] is None
    assert origin["packages"]["vllm"] is None or isinstance(origin["packages"]["vllm"], str)


def test_the_record_of_a_result_holds_its_seeds_and_its_attempt(tmp_path):
    store = Store(tmp_path)
    stage = Stage(toy.seeded, seed=11, deep={"init_seed": 12})
    with store.writing(stage, attempt=2):
        pass
    origin = store.manifest(stage)["provenance"]
    assert origin["seeds"] == {"seed": 11, "deep.init_seed": 12}
    assert origin["attempt"] == 2


def test_a_second_record_costs_less_than_a_millisecond():
    provenance(started=0.0, wall_s=0.0)
    began = time.perf_counter()
    for _ in range(100):
        provenance(started=0.0, wall_s=0.0)
    assert (time.perf_counter() - began) / 100 < 1e-3
