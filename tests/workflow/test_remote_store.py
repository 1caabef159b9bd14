"""Results at an address: published once, fetched whole, each changed byte found, what the dead left removed."""

import importlib
import json
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest
import toy_stages as toy
from store_writers import STAGE, release, start_writer

from overopt.errors import ArtifactError, ConfigError, MissingExtraError, StorageError
from overopt.workflow import Stage, Store, open_store, run
from overopt.workflow.address import default_cache
from overopt.workflow.remote import POINTER
from overopt.workflow.sealed import MANIFEST, folder_name, sealed_text
from overopt.workflow.writers import DraftName, new_draft_name

FOLDER = folder_name(STAGE)


@pytest.fixture(params=["memory", "file"])
def address(request, tmp_path):
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/store"
    return f"file://{tmp_path / 'remote' / 'store'}"


@pytest.fixture
def store(address, tmp_path):
    return open_store(address, cache=tmp_path / "cache")


def elsewhere(store, tmp_path, name="other machine"):
    """The same store with a cache of its own, as another machine has it."""
    return open_store(store.address.partition("#")[0], cache=tmp_path / name)


def make(store, stage=STAGE, text="hello world"):
    with store.writing(stage) as out:
        (out / "deep").mkdir()
        (out / "text.txt").write_text(text)
        (out / "deep" / "more.txt").write_text("more")
        (out / "empty").touch()


def objects(store):
    """What lies at the address: content by name."""
    filesystem, root = fsspec.core.url_to_fs(store.address.partition("#")[0])
    return {name[len(root) + 1 :]: filesystem.cat_file(name) for name in filesystem.find(root)}


def put(store, name, content):
    filesystem, root = fsspec.core.url_to_fs(store.address.partition("#")[0])
    filesystem.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
    filesystem.pipe_file(f"{root}/{name}", content)


def delete(store, name):
    filesystem, root = fsspec.core.url_to_fs(store.address.partition("#")[0])
    filesystem.rm_file(f"{root}/{name}")


def test_a_result_is_one_attempt_and_one_small_object(store):
    make(store)
    names = set(objects(store))
    assert f"{FOLDER}{POINTER}" in names
    attempt = json.loads(objects(store)[f"{FOLDER}{POINTER}"])["attempt"]
    files = {f"{FOLDER}/{attempt}/{file}" for file in ("text.txt", "deep/more.txt", "empty")}
    assert names == files | {f"{FOLDER}{POINTER}"}
    assert store.state(STAGE) == "ready"
    assert store.manifest(STAGE)["label"] == "greeting"


def test_another_machine_fetches_the_result_once_and_reads_the_same_bytes(store, tmp_path):
    make(store)
    other = elsewhere(store, tmp_path)
    assert not other.path(STAGE).exists()
    assert other.state(STAGE) == "ready"
    folder = other.open(STAGE)
    assert folder == other.path(STAGE)
    assert (folder / "text.txt").read_text() == "hello world"
    assert (folder / "deep" / "more.txt").read_text() == "more"
    assert (folder / "empty").read_bytes() == b""
    assert (folder / MANIFEST).read_bytes() == (store.path(STAGE) / MANIFEST).read_bytes()
    attempt = json.loads(objects(store)[f"{FOLDER}{POINTER}"])["attempt"]
    delete(store, f"{FOLDER}/{attempt}/text.txt")
    assert other.open(STAGE) == folder  # from its own copy
    assert other.fetch(STAGE) == folder


def test_nothing_is_there_before_the_end_and_a_block_that_raises_leaves_nothing(store, tmp_path):
    with pytest.raises(IsADirectoryError), store.writing(STAGE) as out:
        (out / "a").write_text((out / "a").mkdir() or store.state(STAGE))
    assert objects(store) == {}
    assert list(store.root.iterdir()) == []
    with pytest.raises(ArtifactError, match="no result of greeting in"):
        store.open(STAGE)


def test_the_second_of_two_writers_drops_its_attempt_and_has_the_result_of_the_first(store, tmp_path):
    slow, fast = store, elsewhere(store, tmp_path)
    with slow.writing(STAGE) as out:
        (out / "text.txt").write_text("slow")
        make(fast, text="fast")
    before = objects(store)
    assert (slow.open(STAGE) / "text.txt").read_text() == "fast"
    assert (slow.path(STAGE) / "text.txt").read_text() == "fast"
    assert len(before) == 4
    assert not any(name.startswith(".") for name in before)


def test_many_writers_at_once_leave_one_whole_result(store, tmp_path):
    barrier, errors, seen = threading.Barrier(6), [], []

    def write(number):
        try:
            mine = elsewhere(store, tmp_path, f"machine {number}")
            with mine.writing(STAGE) as out:
                (out / "a").write_text(str(number) * 10_000)
                barrier.wait()
            seen.append((mine.path(STAGE) / "a").read_text())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(set(seen)) == 1
    assert len(seen) == 6
    assert len(set(seen[0])) == 1
    assert len(objects(store)) == 2


def test_processes_that_write_at_once_leave_one_whole_result(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache home"))
    address = f"file://{tmp_path}/remote"
    children = [start_writer(address, tmp_path / f"ready{number}", number) for number in range(3)]
    release(children, tmp_path)
    store = open_store(address)
    assert store.root == default_cache(address)
    assert len(set((store.open(STAGE) / "a").read_text())) == 1
    assert len(objects(store)) == 2
    assert list(Path(tmp_path / "remote" / FOLDER).iterdir()) != []
    assert len(list(Path(tmp_path / "remote" / FOLDER).iterdir())) == 1


def test_a_reader_sees_nothing_or_the_whole(store, tmp_path):
    seen, done = set(), threading.Event()
    reader_store = elsewhere(store, tmp_path)

    def read():
        while not done.is_set():
            state = reader_store.state(STAGE)
            seen.add(state)
            if state == "ready":
                seen.add((reader_store.open(STAGE) / "text.txt").read_text())

    reader = threading.Thread(target=read)
    reader.start()
    make(store)
    while "hello world" not in seen and reader.is_alive():
        pass
    done.set()
    reader.join()
    assert seen <= {"missing", "ready", "hello world"}
    assert "hello world" in seen


def test_a_reader_never_takes_a_result_that_is_removed_meanwhile_for_a_damaged_one(store, tmp_path):
    seen, done = set(), threading.Event()
    reader_store = elsewhere(store, tmp_path)

    def read():
        while not done.is_set():
            seen.add(reader_store.state(STAGE))
            try:
                seen.add((reader_store.open(STAGE) / "text.txt").read_text())
            except ArtifactError as error:
                seen.add("missing" if "no result" in str(error) else str(error))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        make(store)
        store.remove(FOLDER)
    done.set()
    reader.join()
    assert seen <= {"missing", "ready", "hello world"}


def test_a_result_that_is_replaced_while_it_is_read_is_read_again(store, tmp_path, monkeypatch):
    make(store)
    other, real = elsewhere(store, tmp_path), store._objects.checksum

    def checksum(name, n_bytes):
        if other.state(STAGE) == "ready" and not replaced:
            replaced.append(name)
            other.remove(FOLDER)
            make(other, text="again")
        return real(name, n_bytes)

    for ask in (store.state, store.verify):
        replaced = []
        monkeypatch.setattr(store._objects, "checksum", checksum)
        assert ask(STAGE) in ("ready", [])
        assert replaced


def test_an_upload_is_announced_while_it_lasts(store, tmp_path, monkeypatch):
    other, real, seen = elsewhere(store, tmp_path), store._objects.upload, []

    def upload(folder, files, to):
        real(folder, files, to)
        seen.extend([other.in_progress(), other.leftovers(), other.clean_temporary(), other.state(STAGE)])

    monkeypatch.setattr(store._objects, "upload", upload)
    make(store)
    assert seen == [{FOLDER}, [], [], "missing"]
    assert store.in_progress() == set()


def test_any_flipped_byte_at_the_address_is_found(tmp_path):
    store = open_store(f"memory://{uuid.uuid4().hex}", cache=tmp_path / "cache")
    make(store)
    for name, content in objects(store).items():
        file = MANIFEST if name.endswith(POINTER) else name.split("/", 2)[2]
        for position in range(len(content)):
            changed = bytearray(content)
            changed[position] ^= 1 << position % 8
            put(store, name, bytes(changed))
            assert [damage.file for damage in store.verify(STAGE)] == [file]
        put(store, name, content)
    assert store.state(STAGE) == "ready"


def test_a_flipped_byte_at_the_address_is_not_fetched(store, tmp_path):
    make(store)
    name = next(name for name in objects(store) if name.endswith("text.txt"))
    put(store, name, b"hellO world")
    other = elsewhere(store, tmp_path)
    with pytest.raises(ArtifactError, match=r"result of greeting is damaged: text\.txt has another checksum"):
        other.open(STAGE)
    assert list(other.root.iterdir()) == []
    delete(store, name)
    with pytest.raises(ArtifactError, match=r"damaged: text\.txt is missing"):
        other.open(STAGE)
    assert list(other.root.iterdir()) == []


def test_a_flipped_byte_in_the_local_copy_is_fetched_again(store):
    make(store)
    (store.path(STAGE) / "text.txt").write_text("hellO world")
    assert store.state(STAGE) == "ready"
    assert (store.open(STAGE) / "text.txt").read_text() == "hello world"
    assert [path.name for path in store.root.iterdir()] == [FOLDER]


def test_an_old_local_copy_gives_way_to_what_another_machine_published(store, tmp_path):
    make(store, text="first")
    other = elsewhere(store, tmp_path)
    other.remove(FOLDER)
    make(other, text="second")
    assert (store.path(STAGE) / "text.txt").read_text() == "first"
    assert (store.open(STAGE) / "text.txt").read_text() == "second"


def test_a_damaged_result_is_found_by_a_run_and_made_good(store, tmp_path):
    joined = Stage(toy.join, parts=[STAGE])
    run([joined], store, workers=0)
    for stage, file in ((STAGE, "text.txt"), (STAGE, "deep/settings.txt"), (joined, "text.txt")):
        attempt = json.loads(objects(store)[f"{folder_name(stage)}{POINTER}"])["attempt"]
        name = f"{folder_name(stage)}/{attempt}/{file}"
        content = bytearray(objects(store)[name])
        content[0] ^= 1
        put(store, name, bytes(content))
        events = []
        run([joined], store, workers=0, events=events.append)
        assert [event.kind for event in events].count("damaged") == 1
        assert {store.state(stage) for stage in (STAGE, joined)} == {"ready"}
    asides = [left for left in store.leftovers() if left.kind == "damaged"]
    assert len(asides) == 3
    for aside in asides:
        store.remove(aside.name)
    assert store.leftovers() == []
    assert len(objects(store)) == 5
    assert (elsewhere(store, tmp_path).open(joined) / "text.txt").read_text() == "hello world"


def test_a_damaged_pointer_is_set_aside_once_and_replaced(store):
    make(store)
    put(store, f"{FOLDER}{POINTER}", b"{}")
    assert store.state(STAGE) == "damaged"
    assert store.set_aside(STAGE) == Path(f".damaged-{FOLDER}-1.json")
    assert store.set_aside(STAGE) is None
    assert store.state(STAGE) == "missing"
    make(store, text="new")
    assert store.set_aside(STAGE) is None
    assert (store.open(STAGE) / "text.txt").read_text() == "new"


def test_a_writer_that_meets_a_damaged_result_replaces_it(store, tmp_path):
    with store.writing(STAGE) as out:
        (out / "text.txt").write_text("new")
        make(elsewhere(store, tmp_path), text="old")
        put(store, next(name for name in objects(store) if name.endswith("text.txt")), b"bad")
    assert (store.open(STAGE) / "text.txt").read_text() == "new"
    assert store.state(STAGE) == "ready"


def test_a_set_aside_that_comes_too_late_leaves_the_new_result(store, tmp_path, monkeypatch):
    make(store)
    damaged = objects(store)
    put(store, f"{FOLDER}{POINTER}", b"{}")
    real = store._objects.create

    def create(name, content):
        put(store, f"{FOLDER}{POINTER}", damaged[f"{FOLDER}{POINTER}"])  # another process repairs it meanwhile
        return real(name, content)

    monkeypatch.setattr(store._objects, "create", create)
    assert store.set_aside(STAGE) is None
    assert store.state(STAGE) == "ready"
    assert not any(name.startswith(".damaged-") for name in objects(store))


def test_a_driver_that_knows_no_exclusive_writing_keeps_the_first_result(tmp_path, monkeypatch):
    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self.open(path, mode="wb", data=value)

    monkeypatch.setattr(
        importlib.import_module("fsspec.implementations.memory").MemoryFileSystem, "pipe_file", pipe_file
    )
    store = open_store(f"memory://{uuid.uuid4().hex}", cache=tmp_path / "cache")
    with store.writing(STAGE) as out:
        (out / "text.txt").write_text("slow")
        make(elsewhere(store, tmp_path), text="fast")
    assert (store.open(STAGE) / "text.txt").read_text() == "fast"


def dead_attempt(store, *, machine=None, since="2026-01-01T00:00:00+00:00"):
    """What an upload leaves that was killed half-way: its mark, one file of two, no pointer."""
    ours = new_draft_name(FOLDER)
    name = DraftName(FOLDER, machine or ours.machine, 2**22 + 1 if machine is None else 1, "abc")
    put(store, str(name), since.encode())
    put(store, f"{FOLDER}/{name.tag}/text.txt", b"half")
    return name


def test_an_upload_killed_half_way_is_no_result_and_is_cleaned_up(store):
    name = dead_attempt(store)
    assert store.state(STAGE) == "missing"
    assert store.results() == []
    assert [(left.kind, left.name, left.n_bytes) for left in store.leftovers()] == [("draft", str(name), 4)]
    make(store)
    assert store.clean_temporary() == [str(name)]
    assert store.state(STAGE) == "ready"
    assert len(objects(store)) == 4


def test_an_upload_from_another_machine_is_left_alone_for_a_week(store):
    day = timedelta(days=1)
    young = dead_attempt(store, machine="00000000", since=(datetime.now(UTC) - 6 * day).isoformat())
    assert store.clean_temporary() == []
    assert store.leftovers() == []
    assert store.in_progress() == {FOLDER}
    dead_attempt(store, machine="00000000", since=(datetime.now(UTC) - 8 * day).isoformat())
    assert store.clean_temporary() == [str(young)]
    assert objects(store) == {}


def test_a_writer_killed_between_its_pointer_and_the_end_keeps_its_result(store):
    make(store)
    attempt = json.loads(objects(store)[f"{FOLDER}{POINTER}"])["attempt"]
    machine, _, number = attempt.split(".")
    # The same attempt, its mark still there, its process gone.
    table = json.loads(objects(store)[f"{FOLDER}{POINTER}"])
    dead = DraftName(FOLDER, machine, 2**22 + 1, number)
    del table["sha256"]
    put(store, f"{FOLDER}{POINTER}", sealed_text(table | {"attempt": dead.tag}))
    for name, content in objects(store).items():
        if f"/{attempt}/" in name:
            put(store, name.replace(attempt, dead.tag), content)
            delete(store, name)
    put(store, str(dead), b"2026-01-01T00:00:00+00:00")
    assert store.clean_temporary() == [str(dead)]
    assert store.state(STAGE) == "ready"


def test_an_attempt_that_nothing_points_to_is_found_and_one_in_progress_is_not(store, tmp_path, monkeypatch):
    make(store)
    put(store, f"{FOLDER}/00000000.1.abc/text.txt", b"orphan")
    assert [(left.kind, left.n_bytes) for left in store.leftovers()] == [("draft", 6)]
    listed = store.leftovers()[0].name
    put(store, f".{FOLDER}.00000000.1.abc.tmp", datetime.now(UTC).isoformat().encode())
    assert store.leftovers() == []
    store.remove(listed)  # found before its mark was seen
    assert f"{listed}/text.txt" in objects(store)
    delete(store, f".{FOLDER}.00000000.1.abc.tmp")
    store.remove(listed)
    assert f"{listed}/text.txt" not in objects(store)
    attempt = json.loads(objects(store)[f"{FOLDER}{POINTER}"])["attempt"]
    store.remove(f"{FOLDER}/{attempt}")  # found before it was published
    assert store.state(STAGE) == "ready"


def test_an_upload_that_fails_leaves_nothing_and_says_why(store, monkeypatch):
    def upload(folder, files, to):
        put(store, f"{to}/text.txt", b"half")
        raise StorageError("the line is cut")

    monkeypatch.setattr(store._objects, "upload", upload)
    with pytest.raises(StorageError, match="line is cut"):
        make(store)
    assert objects(store) == {}
    monkeypatch.setattr(store._objects, "upload", lambda folder, files, to: None)
    with pytest.raises(StorageError, match=r"did not arrive at .* as it was sent: deep/more\.txt is missing"):
        make(store)
    assert objects(store) == {}


def test_a_result_that_is_removed_is_gone_everywhere_but_in_other_caches(store):
    make(store)
    store.remove(FOLDER)
    assert objects(store) == {}
    assert store.state(STAGE) == "missing"
    assert list(store.root.iterdir()) == []


def test_a_log_is_readable_from_the_address_until_it_is_dropped(store):
    store.keep_log(STAGE, "why")
    assert objects(store) == {f"{FOLDER}.error.log": b"why"}
    assert store.log_path(STAGE).read_text() == "why"
    store.drop_log(STAGE)
    store.drop_log(STAGE)
    assert objects(store) == {}
    assert not store.log_path(STAGE).exists()


def test_a_pointer_that_reaches_outside_its_folder_is_refused(store, tmp_path):
    make(store)
    table = json.loads(objects(store)[f"{FOLDER}{POINTER}"])
    del table["sha256"]
    table["manifest"]["files"] = {"../../outside": {"sha256": "", "bytes": 1}}
    put(store, f"{FOLDER}{POINTER}", sealed_text(table))
    with pytest.raises(ArtifactError, match="no file of a result"):
        elsewhere(store, tmp_path).open(STAGE)


def test_the_address_opens_the_same_store_again_with_its_cache(store, address, tmp_path):
    make(store)
    again = open_store(store.address)
    assert again.address == store.address == f"{address}#cache={tmp_path / 'cache'}"
    assert again.root == store.root
    assert again.open(STAGE) == store.path(STAGE)


def test_a_store_is_writable_and_the_probe_leaves_nothing(store):
    store.check_writable()
    assert objects(store) == {}


def test_a_folder_opens_as_a_folder(tmp_path):
    for address in (tmp_path / "a", str(tmp_path / "a")):
        store = open_store(address)
        assert type(store) is Store
        assert store.address == str(tmp_path / "a")
    with pytest.raises(ConfigError, match="a cache is for addresses"):
        open_store(tmp_path / "a", cache=tmp_path / "b")


def test_the_default_cache_is_below_the_users_and_differs_by_address(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, two = open_store("memory://one"), open_store("memory://two/")
    assert one.root.parent == two.root.parent == tmp_path / "overopt" / "stores"
    assert one.root != two.root
    assert open_store("memory://two").root == two.root
    assert one.address == "memory://one"


@pytest.mark.parametrize(
    ("address", "kind", "words"),
    [
        ("s4://bucket/x", ConfigError, "there is no protocol s4://"),
        ("s3://", ConfigError, "names no place"),
        ("simplecache::memory://x", ConfigError, "a chain of addresses"),
        (Path("s3://bucket/x"), ConfigError, "give it as text"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused_in_one_sentence(address, kind, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=words) as caught:
        open_store(address)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_driver_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setitem(
        importlib.import_module("fsspec.registry").known_implementations,
        "moon",
        {"class": "moonfs.core.MoonFileSystem", "err": "?"},
    )
    with pytest.raises(
        MissingExtraError, match="needs the package moonfs, not installed here; run: pip install moonfs"
    ):
        open_store("moon://base/x")


class NoCredentialsError(Exception):
    """Of a driver: no OSError, several lines."""


def test_what_a_driver_raises_becomes_one_sentence_with_the_address(tmp_path, monkeypatch):
    memory = importlib.import_module("fsspec.implementations.memory").MemoryFileSystem

    def refuse(self, *args, **kwargs):
        raise NoCredentialsError("Unable to locate\n  credentials")

    address = f"memory://{uuid.uuid4().hex}"
    with monkeypatch.context() as patch:
        patch.setattr(memory, "info", refuse)
        with pytest.raises(StorageError, match=r"cannot be reached: Unable to locate credentials$"):
            open_store(address, cache=tmp_path)
    store = open_store(address, cache=tmp_path)
    monkeypatch.setattr(memory, "pipe_file", refuse)
    with pytest.raises(StorageError, match=r"cannot be written to: Unable to locate credentials$"):
        store.check_writable()


def test_the_two_layouts_of_a_folder_are_not_mixed_up(tmp_path):
    make(Store(tmp_path / "folder"))
    with pytest.raises(StorageError, match="layout of folders"):
        open_store(f"file://{tmp_path}/folder", cache=tmp_path / "cache")
    make(open_store(f"file://{tmp_path}/objects", cache=tmp_path / "cache"))
    with pytest.raises(StorageError, match="layout of addresses"):
        open_store(tmp_path / "objects")
