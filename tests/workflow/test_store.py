"""Finished folders: complete or absent, and any change is found."""

import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy
import pytest
import toy_stages as toy
from store_writers import release, start_writer

import overopt
from overopt.errors import ArtifactError, ConfigError, StorageError
from overopt.workflow import Stage, Store, run
from overopt.workflow.sealed import MANIFEST, folder_name, sealed_text

STAGE = Stage(toy.write, text="hello world", label="greeting", settings=toy.Settings())


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    run([STAGE], store, workers=0)
    return store


def contents(store):
    """Each file's bytes; of the manifests what does not depend on the time they were made."""
    return {
        path.relative_to(store.root): path.read_bytes()
        if path.name != MANIFEST
        else json.loads(path.read_text())["files"]
        for path in store.root.rglob("*")
        if path.is_file()
    }


def problems(store):
    return [str(damage) for damage in store.verify(STAGE)]


def test_a_finished_result_is_ready_and_holds_what_the_stage_wrote(store):
    folder = store.path(STAGE)
    assert folder.name == f"toy_stages.write-{STAGE.key[:16]}"
    assert store.state(STAGE) == "ready"
    assert store.verify(STAGE) == []
    assert store.open(STAGE) == folder
    assert (folder / "text.txt").read_text() == "hello world"
    assert [path.name for path in store.root.iterdir()] == [folder.name]


def test_the_manifest_says_what_when_and_with_what(store):
    manifest = store.manifest(STAGE)
    assert json.loads((store.path(STAGE) / MANIFEST).read_text()).keys() - manifest.keys() == {"sha256"}
    assert (manifest["schema"], manifest["name"], manifest["version"]) == ("overopt.artifact/1", "toy_stages.write", 1)
    assert (manifest["key"], manifest["label"], manifest["inputs"]) == (STAGE.key, "greeting", [])
    assert manifest["parameters"]["settings"] == {"$class": "Settings", "width": 8, "rate": 0.5}
    digest = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"  # printf 'hello world' | sha256sum
    assert manifest["files"]["text.txt"] == {"sha256": digest, "bytes": 11}
    assert set(manifest["files"]) == {"text.txt", "deep/settings.txt"}
    origin = manifest["provenance"]
    assert origin["overopt"] == overopt.__version__
    assert origin["python"] == platform.python_version()
    assert origin["machine"] == platform.machine()
    assert origin["packages"]["numpy"] == numpy.__version__
    assert {"numpy", "polars", "scipy", "torch", "transformers"} <= set(origin["packages"])
    assert origin["started"].endswith("+00:00")
    assert 0 <= origin["wall_s"] < 10
    assert 1 < origin["peak_memory_mb"] < 10_000
    assert origin["host"] == platform.node()
    assert str(store.root) not in (store.path(STAGE) / MANIFEST).read_text()


def test_a_result_with_inputs_names_their_keys(store):
    joined = Stage(toy.join, parts=[STAGE])
    run([joined], store, workers=0)
    assert store.manifest(joined)["inputs"] == [STAGE.key]


def test_any_flipped_byte_of_any_file_is_found(store):
    folder = store.path(STAGE)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        for position in range(len(content)):
            bit = 1 << position % 8
            path.write_bytes(content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :])
            assert [damage.file for damage in store.verify(STAGE)] == [path.relative_to(folder).as_posix()]
        path.write_bytes(content)
    assert store.state(STAGE) == "ready"


def test_a_file_cut_short_missing_or_too_many_is_named(store):
    folder = store.path(STAGE)
    (folder / "text.txt").write_text("hello")
    assert problems(store) == ["text.txt has 5 bytes where 11 were written"]
    (folder / "text.txt").unlink()
    assert problems(store) == ["text.txt is missing"]
    (folder / "deep" / "more.txt").touch()
    assert problems(store) == ["text.txt is missing", "deep/more.txt was not written by the stage"]
    assert store.state(STAGE) == "damaged"
    with pytest.raises(ArtifactError, match=r"result of greeting is damaged: text\.txt is missing"):
        store.open(STAGE)


def test_a_link_in_the_place_of_a_file_is_damage(store, tmp_path):
    copy = tmp_path / "copy.txt"
    (store.path(STAGE) / "text.txt").rename(copy)
    (store.path(STAGE) / "text.txt").symlink_to(copy)
    assert problems(store) == ["text.txt is not a plain file"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "is missing"),
        (b"", "is not JSON"),
        (b"\xff", "cannot be read"),
        (b"[]", "is not a table"),
        (b"{}", "schema"),
        (b'{"schema": "overopt.artifact/1"}', "checksum"),
    ],
)
def test_a_damaged_manifest_is_named(store, text, words):
    path = store.path(STAGE) / MANIFEST
    path.unlink() if text is None else path.write_bytes(text)
    assert [damage.file for damage in store.verify(STAGE)] == [MANIFEST]
    assert words in problems(store)[0]
    with pytest.raises(ArtifactError, match=words):
        store.manifest(STAGE)


def test_a_manifest_edited_with_care_is_still_found(store):
    # A new checksum for a changed file does not match the manifest's own.
    path = store.path(STAGE) / MANIFEST
    text = path.read_text()
    for old, new in (('"label": "greeting"', '"label": "meeting"'), ("\n ", "\n  "), ('"key"', '"version": 2, "key"')):
        path.write_text(text.replace(old, new, 1))
        assert "checksum" in problems(store)[0]


def test_the_result_of_another_key_under_our_name_is_not_taken(store):
    other = Stage(toy.write, text="other")
    store.path(STAGE).rename(store.path(other))
    assert store.state(other) == "damaged"
    assert STAGE.key in str(store.verify(other)[0])


def test_a_file_in_the_place_of_a_result_is_damage_and_is_replaced(tmp_path):
    store = Store(tmp_path)
    store.path(STAGE).write_text("in the way")
    assert store.state(STAGE) == "damaged"
    run([STAGE], store, workers=0)
    assert store.state(STAGE) == "ready"


def test_a_missing_result_says_so(tmp_path):
    store = Store(tmp_path)
    assert store.state(STAGE) == "missing"
    with pytest.raises(ArtifactError, match="no result of greeting"):
        store.open(STAGE)


def test_nothing_appears_under_the_final_name_before_the_end(tmp_path):
    store = Store(tmp_path)
    with store.writing(STAGE) as out:
        (out / "a").write_text("a")
        assert store.state(STAGE) == "missing"
        assert out.parent == store.root
        assert out.name.startswith(".")
        assert out.name.endswith(".tmp")
    assert store.state(STAGE) == "ready"


def test_a_block_that_raises_leaves_nothing(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(IsADirectoryError), store.writing(STAGE) as out:
        (out / "a").write_text((out / "a").mkdir() or "a")
    assert list(store.root.iterdir()) == []


def test_the_second_of_two_writers_keeps_the_result_of_the_first(tmp_path):
    store = Store(tmp_path)
    with store.writing(STAGE) as slow:
        (slow / "a").write_text("slow")
        with store.writing(STAGE) as fast:
            assert fast != slow
            (fast / "a").write_text("fast")
    assert (store.open(STAGE) / "a").read_text() == "fast"
    assert [path.name for path in store.root.iterdir()] == [store.path(STAGE).name]


def test_a_writer_that_meets_a_damaged_result_replaces_it(store):
    with store.writing(STAGE) as out:
        (out / "a").write_text("new")
        (store.path(STAGE) / "text.txt").write_text("damaged")
    assert (store.open(STAGE) / "a").read_text() == "new"
    assert len(list(store.root.glob(".damaged-*"))) == 1


def test_two_processes_that_write_one_result_at_once_leave_one_whole_result(tmp_path):
    children = [start_writer(str(tmp_path / "store"), tmp_path / f"ready{number}", number) for number in range(3)]
    release(children, tmp_path)
    store = Store(tmp_path / "store")
    assert len(set((store.open(STAGE) / "a").read_text())) == 1
    assert [path.name for path in store.root.iterdir()] == [store.path(STAGE).name]


def test_many_writers_at_once_leave_one_whole_result(tmp_path):
    store = Store(tmp_path)
    barrier, errors = threading.Barrier(8), []

    def write(number):
        try:
            with Store(tmp_path).writing(STAGE) as out:
                (out / "a").write_text(str(number) * 1000)
                barrier.wait()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(set((store.open(STAGE) / "a").read_text())) == 1
    assert [path.name for path in store.root.iterdir()] == [store.path(STAGE).name]


def test_a_damaged_result_is_set_aside_and_a_whole_one_is_not(store):
    assert store.set_aside(STAGE) is None
    for number in (1, 2):
        (store.path(STAGE) / "text.txt").write_text(f"damage {number}")
        aside = store.set_aside(STAGE)
        assert (aside / "text.txt").read_text() == f"damage {number}"
        assert aside.name.startswith(".damaged-")
        assert store.state(STAGE) == "missing"
        run([STAGE], store, workers=0)
    assert store.set_aside(Stage(toy.write, text="never made")) is None


def test_a_reader_sees_nothing_or_the_whole_while_writers_and_damage_come_and_go(tmp_path):
    store, seen, done = Store(tmp_path), set(), threading.Event()

    def read():
        while not done.is_set():
            seen.add(Store(tmp_path).state(STAGE))

    reader = threading.Thread(target=read)
    reader.start()
    for round_ in range(20):
        with store.writing(STAGE) as out:
            for number in range(5):
                (out / f"{number}").write_text(f"{round_}" * 1000)
        store.remove(store.path(STAGE).name)
    done.set()
    reader.join()
    assert seen <= {"missing", "ready"}


def test_a_flipped_byte_in_any_file_of_any_result_is_found_by_a_run_and_made_good(tmp_path):
    store = Store(tmp_path / "store")
    joined = Stage(toy.join, parts=[STAGE])
    run([joined], store, workers=0)
    whole = contents(store)
    for path in sorted(path for path in store.root.rglob("*") if path.is_file()):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        found = []
        run([joined], store, workers=0, events=found.append)
        assert [event.kind for event in found].count("damaged") == 1
        for aside in store.root.glob(".damaged-*"):
            store.remove(aside.name)
        assert contents(store) == whole


def test_results_lists_what_is_there_and_what_cannot_be_read(store):
    broken = Stage(toy.write, text="broken")
    run([broken], store, workers=0)
    (store.path(broken) / MANIFEST).write_text("{}")
    (store.root / "notes").mkdir()
    (store.root / f"{store.path(STAGE).name}.error.log").touch()
    found = {result.key: result for result in store.results()}
    assert set(found) == {STAGE.key, broken.key[:16]}
    result = found[STAGE.key]
    assert (result.name, result.label, result.version, result.problem) == ("toy_stages.write", "greeting", 1, "")
    assert result.n_bytes == 11 + len(str(toy.Settings()))
    assert store.damages(result) == []
    assert "schema" in found[broken.key[:16]].problem
    assert found[broken.key[:16]].name == "toy_stages.write"
    assert [damage.file for damage in store.damages(found[broken.key[:16]])] == [MANIFEST]


def test_a_result_under_the_name_of_another_is_listed_as_a_problem(store):
    store.path(STAGE).rename(store.path(Stage(toy.write, text="other")))
    assert [STAGE.key in result.problem for result in store.results()] == [True]


def test_a_manifest_that_reaches_outside_its_folder_is_refused(store, tmp_path):
    (tmp_path / "store" / "secret").write_text("x")
    manifest = {**store.manifest(STAGE), "files": {"../secret": {"sha256": "", "bytes": 1}}}
    (store.path(STAGE) / MANIFEST).write_bytes(sealed_text(manifest))
    assert "no file of a result" in problems(store)[0]


def test_what_is_removed_is_gone_and_a_draft_in_progress_is_known(store):
    with store.writing(Stage(toy.write, text="now")):
        assert store.in_progress() == {folder_name(Stage(toy.write, text="now"))}
        assert store.leftovers() == []
    store.remove(store.path(STAGE).name)
    assert store.state(STAGE) == "missing"
    assert [result.key for result in store.results()] == [Stage(toy.write, text="now").key]
    assert list(store.root.glob(".*")) == []


def test_what_took_long_is_brought_to_the_disk_file_by_file_before_it_gets_its_name(tmp_path, monkeypatch):
    store, synced = Store(tmp_path), []
    for module in ("sealed", "store"):
        monkeypatch.setattr(
            f"overopt.workflow.{module}.sync", lambda path: synced.append((path.name, store.path(STAGE).exists()))
        )
    with store.writing(Stage(toy.write, text="quick")) as out:
        (out / "a").touch()
    assert synced == []
    monkeypatch.setattr("overopt.workflow.store._WORTH_SYNCING_S", 0.0)
    with store.writing(STAGE) as out:
        (out / "deep").mkdir()
        (out / "deep" / "a").touch()
    assert synced == [("a", False), ("deep", False), (MANIFEST, False), (out.name, False), (tmp_path.name, True)]


def test_a_log_is_kept_and_dropped(store):
    store.keep_log(STAGE, "why \udcff")
    assert store.log_path(STAGE).read_text() == "why \\udcff"
    store.drop_log(STAGE)
    store.drop_log(STAGE)
    assert not store.log_path(STAGE).exists()


def test_fetch_gives_the_folder_without_reading_it_and_says_when_it_is_missing(store):
    assert store.fetch(STAGE) == store.path(STAGE)
    with pytest.raises(ArtifactError, match="no result of write"):
        store.fetch(Stage(toy.write, text="never made"))


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    store = Store(tmp_path)
    script = (
        "import sys, os; from overopt.workflow import Store, Stage; import toy_stages as toy\n"
        "with Store(sys.argv[1]).writing(Stage(toy.write, text='x')) as out:\n"
        "    (out / 'half').touch(); print(out.name, flush=True); input()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    with child, store.writing(STAGE) as ours:
        theirs = child.stdout.readline().strip()
        foreign = tmp_path / ".name-0123456789abcdef.00000000.1.0.tmp"
        foreign.mkdir()
        (tmp_path / ".unrelated.tmp").mkdir()
        assert store.clean_temporary() == []
        child.kill()
        # Not collected yet, the child is a zombie: it has its number and writes no more.
        deadline = time.monotonic() + 5
        while not (removed := store.clean_temporary()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert removed == [theirs]
        assert ours.exists()
        assert foreign.exists()
        os.utime(foreign, (0, 0))
        assert store.clean_temporary() == [foreign.name]
    assert (tmp_path / ".unrelated.tmp").exists()


def test_only_plain_files_can_be_kept_and_one_name_is_taken(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(ConfigError, match="link, which is not a plain file"), store.writing(STAGE) as out:
        (out / "link").symlink_to("elsewhere")
    with pytest.raises(ConfigError, match=MANIFEST), store.writing(STAGE) as out:
        (out / MANIFEST).touch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_root_that_cannot_be_a_folder_is_refused_in_one_sentence(tmp_path, where):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be used as a folder for results") as caught:
        Store(tmp_path / where)
    assert "\n" not in str(caught.value)


def test_a_root_that_vanishes_or_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    store = Store(tmp_path / "store")
    (tmp_path / "store").rmdir()
    with pytest.raises(StorageError, match="results cannot be written to"):
        run([STAGE], store, workers=0)
    with pytest.raises(StorageError, match="results cannot be written to"), store.writing(STAGE):
        pass


def test_peak_memory_is_that_of_the_stage_not_of_the_worker_so_far(tmp_path):
    store = Store(tmp_path)
    big = Stage(toy.memory, mb=300, cost=9)
    small = Stage(toy.write, text="small")
    run([big, small], store, workers=1)
    peaks = [store.manifest(stage)["provenance"]["peak_memory_mb"] for stage in (big, small)]
    assert peaks[0] > 300
    if sys.platform == "linux":
        assert peaks[1] < 200
