"""Each thing a user can get wrong ends in one sentence and the right exit status, never in a traceback."""

import os
import sys
from pathlib import Path

import pytest
from conftest import overopt

from overopt.assets import catalog
from overopt.cli import main as cli


def refused(result, status: int, *words: str) -> None:
    """What a command in this process gave: exit status, output and errors."""
    found, out, err = result
    assert found == status, err
    assert "Traceback" not in err
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("overopt: ")]
    assert len(lines) == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nothing"], ["no study 'nothing'", "chitchat"]),
        (["run", "--preset", "huge"], ["no preset 'huge'", "smoke, default"]),
        (["run", "--executor", "moon"], ["no executor 'moon'"]),
        (["run", "--set", "promts=3"], ["no setting 'promts'", "prompts"]),
        (["run", "--set", "rl=3"], ["'rl' is a group", "rl.steps"]),
        (["run", "--set", "rl.steps=many"], ["rl.steps takes a whole number"]),
        (["run", "--set", "prompts"], ["key=value"]),
        (["run", "--set", "rl.group=1"], ["rl.group"]),
        (["run", "--set", "policy_width=7"], ["policy_width"]),
        (["report", "no-such-folder"], ["holds no study"]),
    ],
)
def test_wrong_requests(command, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(command(*arguments), 2, *words)
    assert list(tmp_path.iterdir()) == []


def test_unknown_options_are_named(tmp_path):
    result = overopt("run", "--presett", "smoke", cwd=tmp_path)
    assert result.returncode == 2
    assert "--presett" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_of_another_study_is_left_alone(command, smoke_copy):
    before = (smoke_copy / "study.json").read_bytes()
    refused(
        command("run", "--preset", "smoke", "--seed", "1", "--out", smoke_copy), 2, "another study", "seed is 0, not 1"
    )
    changed = command("run", "--preset", "smoke", "--set", "rl.steps=9", "--out", smoke_copy)
    refused(changed, 2, "rl.steps is 8, not 9")
    assert (smoke_copy / "study.json").read_bytes() == before


def test_folders_that_cannot_be_used(command, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    refused(command("run", "--preset", "smoke", "--out", file), 2, "is a file")
    refused(command("run", "--preset", "smoke", "--out", file / "below"), 2, "cannot write to")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    refused(command("run", "--preset", "smoke", "--out", foreign), 2, "holds no study")
    assert [p.name for p in foreign.iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that even root cannot write to")
def test_a_folder_that_cannot_be_written_to(command):
    refused(command("run", "--preset", "smoke", "--out", "/proc/overopt"), 2, "cannot write to /proc/overopt")


def test_a_missing_extra_is_named(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n_find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in ('torch', 'transformers') else _find(name, *a)\n"
    )
    result = overopt("run", "--preset", "smoke", cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    refused((result.returncode, result.stdout, result.stderr), 2, "torch, transformers", "overopt[models]")


def test_a_damaged_table_cannot_be_reported(command, smoke_copy):
    table = smoke_copy / "tables" / "pool.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    refused(command("report", smoke_copy), 1, "pool.parquet was changed", "run the study again")
    table.unlink()
    refused(command("report", smoke_copy), 1, "pool.parquet is missing")


def test_damaged_models_are_found(tmp_path, monkeypatch, capsys):
    import shutil

    root = shutil.copytree(catalog.MODELS_FOLDER, tmp_path / "models")
    weights = root / "chitchat-w8" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x01")
    (root / "chitchat-w16" / "config.json").unlink()
    monkeypatch.setattr(catalog.damages, "__defaults__", (root,))
    monkeypatch.setattr(sys, "argv", ["overopt", "assets", "check"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    message = capsys.readouterr().err
    assert stopped.value.code == 1
    assert "chitchat-w8/model.safetensors" in message
    assert "chitchat-w16/config.json is missing" in message


def test_the_version_and_the_help():
    assert overopt("--version").stdout.startswith("overopt ")
    help_text = overopt("run", "--help").stdout
    assert "overopt run chitchat --preset smoke" in " ".join(help_text.split())
