"""What may go from a store: never what a study that is kept needs, never what somebody writes."""

import json
import os
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import toy_stages as toy

from overopt.errors import ConfigError, DataError
from overopt.workflow import Stage, Store, open_store, plan
from overopt.workflow.checking import check_results
from overopt.workflow.garbage import find_garbage, read_plan_keys, remove_garbage
from overopt.workflow.sealed import MANIFEST, folder_name

FIRST = Stage(toy.write, text="first")
NEEDS_FIRST = Stage(toy.join, parts=[FIRST])
OTHER = Stage(toy.write, text="other")


@pytest.fixture(params=["folder", "address"])
def store(request, tmp_path):
    if request.param == "folder":
        store = Store(tmp_path / "shared")
    else:
        store = open_store(f"memory://{uuid.uuid4().hex}", cache=tmp_path / "cache")
    for stage in (FIRST, NEEDS_FIRST, OTHER):
        make(store, stage)
    return store


def make(store, stage):
    with store.writing(stage) as out:
        (out / "text.txt").write_text("text")


def study(folder, *targets):
    """A folder as ``overopt run`` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text("{}")
    keys = [stage.key for stage in plan(targets)]
    (folder / "plan.json").write_text(json.dumps({"schema": "overopt.plan_keys/1", "keys": keys}))
    return folder


def names(garbage):
    return {item.name for item in garbage}


def test_nothing_said_means_that_results_stay(store):
    assert find_garbage(store) == []


def test_what_no_kept_study_needs_goes_and_inputs_of_what_is_kept_stay(store, tmp_path):
    kept = study(tmp_path / "kept", NEEDS_FIRST)
    garbage = find_garbage(store, keep=[kept])
    assert [(item.kind, item.name, item.label, item.n_bytes) for item in garbage] == [
        ("result", folder_name(OTHER), "write", 4)
    ]
    assert "no study that is kept needs it" in garbage[0].reason
    assert store.state(OTHER) == "ready"
    remove_garbage(store, garbage)
    assert [store.state(stage) for stage in (FIRST, NEEDS_FIRST, OTHER)] == ["ready", "ready", "missing"]
    assert find_garbage(store, keep=[kept]) == []


def test_every_study_that_is_named_is_kept(store, tmp_path):
    kept = [study(tmp_path / "one", FIRST), study(tmp_path / "two", OTHER)]
    assert names(find_garbage(store, keep=kept)) == {folder_name(NEEDS_FIRST)}


def test_age_alone_and_age_with_studies(store, tmp_path):
    now = datetime.now(UTC)
    assert find_garbage(store, older_than_days=1, now=now) == []
    later = now + timedelta(days=2)
    assert len(find_garbage(store, older_than_days=1, now=later)) == 3
    kept = study(tmp_path / "kept", NEEDS_FIRST)
    assert find_garbage(store, keep=[kept], older_than_days=1, now=now) == []
    assert names(find_garbage(store, keep=[kept], older_than_days=1, now=later)) == {folder_name(OTHER)}


def test_the_study_around_the_store_keeps_its_results_without_being_named(tmp_path):
    home = study(tmp_path / "home", NEEDS_FIRST)
    store = Store(home / "store")
    for stage in (FIRST, NEEDS_FIRST, OTHER):
        make(store, stage)
    assert names(find_garbage(store, older_than_days=0)) == {folder_name(OTHER)}
    assert names(find_garbage(store, keep=[study(tmp_path / "guest", OTHER)])) == set()
    (home / "plan.json").unlink()
    assert find_garbage(store) == []
    with pytest.raises(DataError, match=r"home holds no plan\.json; run the study there once more"):
        find_garbage(store, older_than_days=0)


def test_a_result_that_somebody_writes_is_left_alone_whatever_was_asked(store):
    with store.writing(OTHER):
        assert folder_name(OTHER) not in names(find_garbage(store, older_than_days=0))
    assert folder_name(OTHER) in names(find_garbage(store, older_than_days=0))


def test_a_damaged_set_aside_and_an_unreadable_result_go_without_being_asked_for(tmp_path):
    store = Store(tmp_path)
    for stage in (FIRST, OTHER):
        make(store, stage)
    (store.path(FIRST) / "text.txt").write_text("damaged")
    store.set_aside(FIRST)
    (store.path(OTHER) / MANIFEST).write_text("{}")
    (tmp_path / "my own files").mkdir()
    garbage = find_garbage(store)
    assert {(item.kind, item.name) for item in garbage} == {
        ("damaged", f".damaged-{folder_name(FIRST)}-1"),
        ("damaged", folder_name(OTHER)),
    }
    remove_garbage(store, garbage)
    assert [path.name for path in tmp_path.iterdir()] == ["my own files"]


def test_an_abandoned_draft_goes_and_counts_its_bytes(tmp_path):
    store = Store(tmp_path)
    draft = tmp_path / f".{folder_name(FIRST)}.00000000.1.0.tmp"
    draft.mkdir()
    (draft / "half").write_text("half")
    assert find_garbage(store) == []
    os.utime(draft, (0, 0))
    garbage = find_garbage(store)
    assert [(item.kind, item.name, item.n_bytes) for item in garbage] == [("draft", draft.name, 4)]
    remove_garbage(store, garbage)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "it does not exist"),
        ("", "cannot be read as JSON"),
        ("[]", "does not follow the schema"),
        ('{"schema": "overopt.plan_keys/2", "keys": []}', "does not follow the schema"),
        ('{"schema": "overopt.plan_keys/1", "keys": ["abc"]}', "does not follow the schema"),
        ('{"schema": "overopt.plan_keys/1"}', "does not follow the schema"),
    ],
)
def test_a_study_that_does_not_say_what_it_needs_is_refused_before_anything_goes(tmp_path, text, words):
    if text is not None:
        (tmp_path / "study").mkdir()
        (tmp_path / "study" / "plan.json").write_text(text)
    with pytest.raises(DataError, match=words):
        read_plan_keys(tmp_path / "study")


@pytest.mark.parametrize("days", [-1, float("nan")])
def test_an_age_that_is_none_is_refused(tmp_path, days):
    with pytest.raises(ConfigError, match="--older-than takes a number of days, 0 or more"):
        find_garbage(Store(tmp_path), older_than_days=days)


def test_a_removal_in_the_middle_leaves_a_draft_that_goes_next_time(tmp_path, monkeypatch):
    store = Store(tmp_path)
    make(store, FIRST)
    with monkeypatch.context() as patch:
        patch.setattr("overopt.workflow.store._erase", lambda path: None)
        store.remove(folder_name(FIRST))
    assert store.state(FIRST) == "missing"
    (left,) = list(tmp_path.iterdir())
    assert left.name.endswith(".tmp")


def test_every_file_of_every_result_is_checked_with_progress(store, tmp_path):
    seen = []
    checked = check_results(store, lambda done, total, unit: seen.append((done, total, unit)))
    assert [each.result.key for each in checked] == [result.key for result in store.results()]
    assert all(each.damages == [] for each in checked)
    assert seen == [(1, 3, "results"), (2, 3, "results"), (3, 3, "results")]
