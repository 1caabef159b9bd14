"""``overopt store``: a folder, a study or an address in; a table or JSON out; nothing deleted without being asked."""

import json
import os

import pytest
from conftest import overopt
from typer.testing import CliRunner

from overopt.cli import main as command
from overopt.cli import store as store_command
from overopt.errors import DataError
from overopt.workflow import Stage, StageContext, Store, open_store, stage_function
from overopt.workflow.sealed import folder_name


@stage_function(name="cli_tests.write", title="[bold]write")
def write(ctx: StageContext, *, text: str) -> None:
    (ctx.out / "text.txt").write_text(text)


KEPT, SPARE = Stage(write, text="kept"), Stage(write, text="spare", label="spare [red]one")


def ask(*arguments, status=0):
    result = CliRunner().invoke(command.app, ["store", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == status, result.output
    return result.stdout


def fill(store):
    for stage in (KEPT, SPARE):
        with store.writing(stage) as out:
            stage.function(StageContext(out=out, label="", report=lambda *_: None), text=stage.parameters["text"])
    return store


@pytest.fixture
def study(tmp_path):
    """A study's folder with a store of two results, one of which the study needs."""
    folder = tmp_path / "runs" / "x"
    fill(Store(folder / "store"))
    (folder / "study.json").write_text("{}")
    (folder / "plan.json").write_text(json.dumps({"schema": "overopt.plan_keys/1", "keys": [KEPT.key]}))
    return folder


def test_ls_shows_each_result_of_a_store_or_of_a_study(study):
    for address in (study, study / "store"):
        text = ask("ls", address)
        for word in (
            "cli_tests.write",
            "[bold]write",
            "spare [red]one",
            KEPT.key[:8],
            "4 bytes",
            "present",
            "2 results",
        ):
            assert word in text


def test_a_narrow_terminal_cuts_no_name_and_no_number(study):
    for what in (("ls",), ("gc", "--keep", study)):
        result = overopt("store", what[0], study, *what[1:], env={**os.environ, "COLUMNS": "80"})
        assert result.returncode == 0
        assert "…" not in result.stdout
    result = overopt("store", "ls", study, env={**os.environ, "COLUMNS": "80"})
    assert KEPT.key[:8] in result.stdout


def test_ls_as_json_holds_what_the_manifests_say(study):
    report = json.loads(ask("ls", study, "--json"))
    assert (report["schema"], report["bytes"], report["address"]) == ("overopt.store/1", 9, str(study / "store"))
    rows = {row["key"]: row for row in report["results"]}
    assert set(rows) == {KEPT.key, SPARE.key}
    row = rows[SPARE.key]
    assert (row["name"], row["label"], row["version"]) == ("cli_tests.write", "spare [red]one", 1)
    assert (row["bytes"], row["state"], row["folder"]) == (5, "present", folder_name(SPARE))
    assert row["wall_s"] >= 0
    assert row["peak_memory_mb"] > 1
    assert row["made"].startswith("20")


def test_ls_of_an_empty_store_says_so(tmp_path):
    assert "holds no results" in ask("ls", tmp_path)


def test_verify_is_content_and_then_finds_a_flipped_byte(study):
    assert "2 results, 2 files: all as they were written" in ask("verify", study)
    report = json.loads(ask("verify", study, "--json"))
    assert (report["schema"], report["checked"], report["damaged"]) == ("overopt.store_check/1", 2, [])
    (study / "store" / folder_name(SPARE) / "text.txt").write_text("spArE")
    text = ask("verify", study, status=1)
    assert "text.txt" in text
    assert "another checksum" in text
    assert "1 of 2 results damaged" in text
    report = json.loads(ask("verify", study, "--json", status=1))
    assert [row["key"] for row in report["damaged"]] == [SPARE.key]
    assert list(report["damaged"][0]["files"]) == ["text.txt"]


def test_gc_says_what_would_go_and_deletes_when_told(study):
    store = Store(study / "store")
    text = ask("gc", study, "--keep", study)
    for word in ("spare [red]one", "no study that is kept needs it", "Nothing was deleted", "5 bytes"):
        assert word in text
    assert store.state(SPARE) == "ready"
    report = json.loads(ask("gc", study, "--keep", study, "--json"))
    assert (report["schema"], report["deleted"], report["bytes"]) == ("overopt.store_gc/1", False, 5)
    assert [row["name"] for row in report["garbage"]] == [folder_name(SPARE)]
    assert "5 bytes freed" in ask("gc", study, "--keep", study, "--yes")
    assert (store.state(KEPT), store.state(SPARE)) == ("ready", "missing")
    assert "Nothing to delete" in ask("gc", study, "--keep", study, "--yes")


def test_gc_with_no_more_said_leaves_results(study):
    assert "Nothing to delete" in ask("gc", study, "--yes")
    assert Store(study / "store").state(SPARE) == "ready"


def test_an_address_is_listed_checked_and_cleaned_as_a_folder_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    address = f"file://{tmp_path}/remote"
    store = fill(open_store(address))
    assert len(json.loads(ask("ls", address, "--json"))["results"]) == 2
    assert "all as they were written" in ask("verify", address)
    next((tmp_path / "remote" / folder_name(SPARE)).glob("*/text.txt")).write_text("spArE")
    assert "another checksum" in ask("verify", address, status=1)
    assert "Deleted" in ask("gc", address, "--older-than", "0", "--yes")
    assert store.results() == []
    assert list((tmp_path / "remote").iterdir()) == []


def test_a_folder_that_is_not_there_is_refused_and_not_made(tmp_path):
    result = overopt("store", "ls", "nowhere", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == "overopt: nowhere is not a folder; give a store, the folder of a study, or an address\n"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError):
        store_command._open(str(tmp_path / "nowhere"))


def test_a_damaged_store_ends_with_status_one(study):
    (study / "store" / folder_name(SPARE) / "text.txt").unlink()
    result = overopt("store", "verify", study)
    assert result.returncode == 1
    assert "is missing" in result.stdout
    assert result.stderr == ""


def test_the_bar_appears_only_when_it_takes_long(monkeypatch):
    shown = []

    class Bar:
        def __init__(self, title):
            shown.append(title)

        def __enter__(self):
            return lambda done, total, unit: shown.append(done)

        def __exit__(self, *details):
            shown.append("end")

    monkeypatch.setattr(store_command, "bar", Bar)
    with store_command._late_bar("verify") as move:
        move(1, 3, "results")
    assert shown == []
    monkeypatch.setattr(store_command, "_PATIENCE_S", -1.0)
    with store_command._late_bar("verify") as move:
        move(1, 3, "results")
        move(2, 3, "results")
    assert shown == ["verify", 1, 2, "end"]
