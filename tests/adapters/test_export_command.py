"""``overopt tamper export --to inspect`` and ``import``."""

import pytest
from conftest import overopt
from typer.testing import CliRunner

from overopt.cli import extras
from overopt.cli import main as command
from overopt.envs.actors import Script
from overopt.envs.episode_file import write_episodes
from overopt.envs.registry import environment
from overopt.envs.runner import run_episodes
from overopt.errors import ConfigError, MissingExtraError


def ask(*arguments):
    return CliRunner().invoke(command.app, ["tamper", *map(str, arguments)])


@pytest.fixture
def files(tmp_path):
    found = environment("reward-tampering")
    for persona in ("honest", "gamer"):
        episodes = run_episodes(found, Script(found, persona), found.scenarios(3))
        write_episodes(episodes, tmp_path / f"{persona}.jsonl")
    return [tmp_path / "honest.jsonl", tmp_path / "gamer.jsonl"]


def test_there_and_back(files, tmp_path):
    log, again = tmp_path / "out" / "x.eval", tmp_path / "again.jsonl"
    result = ask("export", *files, "--to", "inspect", "--out", log)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"6 episodes: {log}\n"
    result = ask("import", log, "--out", again)
    assert result.stdout == f"6 episodes: {again}\n"
    assert again.read_text() == "".join(file.read_text() for file in files)


def test_another_format_is_refused(files, tmp_path):
    result = ask("export", files[0], "--to", "paper", "--out", tmp_path / "x")
    assert isinstance(result.exception, ConfigError)
    assert "--to is one of" in str(result.exception)


def test_without_inspect_one_sentence_names_the_extra(files, tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    for arguments in (["export", files[0], "--to", "inspect", "--out", tmp_path / "x.eval"],
                      ["import", tmp_path / "x.eval", "--out", tmp_path / "y.jsonl"]):  # fmt: skip
        result = ask(*arguments)
        assert isinstance(result.exception, MissingExtraError)
        assert result.exception.exit_status == 2
        assert "pip install 'overopt[inspect]'" in str(result.exception)


def test_a_file_that_is_no_log_ends_in_one_sentence(tmp_path):
    (tmp_path / "x.eval").write_text("no log")
    result = overopt("tamper", "import", tmp_path / "x.eval", "--out", tmp_path / "y.jsonl")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("overopt: ")
    assert not (tmp_path / "y.jsonl").exists()
