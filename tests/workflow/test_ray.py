"""The same runs on a Ray cluster; skipped without Ray. One cluster of this machine serves most tests."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import toy_stages as toy

from overopt.errors import ConfigError, StageError
from overopt.workflow import Needs, RayCluster, Stage, Store, run

ray = pytest.importorskip("ray", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def here(cluster):
    return RayCluster(address=cluster.address)


class Events(list):
    def __call__(self, event):
        self.append(event)

    def labels(self, kind):
        return [event.label for event in self if event.kind == kind]


def tree(notes=""):
    a, b = (Stage(toy.write, text=text, notes=notes, label=text) for text in "ab")
    ab = Stage(toy.join, parts=[a, b], notes=notes, label="ab")
    return [Stage(toy.join, parts=(ab, a), named={"b": b}, notes=notes, label="all")]


def files(store):
    return {
        path.relative_to(store.root).as_posix(): path.read_bytes()
        for path in store.root.rglob("*")
        if path.is_file() and path.name != "_artifact.json"
    }


def test_results_are_those_of_the_local_executor(tmp_path, here):
    stores = [Store(tmp_path / name) for name in ("ray", "local")]
    events = Events()
    run(tree(), stores[0], workers=None, cluster=here, events=events)
    run(tree(), stores[1], workers=0)
    assert files(stores[0]) == files(stores[1])
    assert sorted(events.labels("started")) == sorted(events.labels("finished")) == ["a", "ab", "all", "b"]
    assert not list(stores[0].root.glob(".*"))


def test_progress_arrives_and_the_last_step_always_does(tmp_path, here):
    events = Events()
    run([Stage(toy.report, steps=1000)], Store(tmp_path), workers=None, cluster=here, events=events)
    seen = [(event.done, event.total, event.unit) for event in events if event.kind == "progress"]
    assert seen[-1] == (1000, 1000, "steps")


def test_stages_run_at_the_same_time_with_their_threads_set(tmp_path, here):
    notes = str(tmp_path)
    meet = [Stage(toy.meet, notes=notes, me="x", other="y"), Stage(toy.meet, notes=notes, me="y", other="x")]
    one, two = Stage(toy.thread_variables, which=1), Stage(toy.thread_variables, which=2, needs=Needs(cpus=2))
    store = Store(tmp_path / "store")
    run([*meet, one, two], store, workers=None, cluster=here)
    assert (store.open(one) / "text.txt").read_text() == "1 1 1 1"
    assert (store.open(two) / "text.txt").read_text() == "2 2 2 2"


def test_a_failing_stage_is_reported_not_tried_again_and_the_others_go_on(tmp_path, here):
    store, events, notes = Store(tmp_path / "store"), Events(), str(tmp_path)
    broken = [Stage(toy.fail, how=how, label=how) for how in ("fussy", "bug", "exit")]
    needs = Stage(toy.join, parts=broken[:1], label="needs")
    after = Stage(toy.join, parts=[Stage(toy.write, text="free", notes=notes)], notes=notes, label="after")
    with pytest.raises(StageError) as caught:
        run([needs, *broken, after], store, workers=None, cluster=here, events=events)
    message = str(caught.value)
    assert message.startswith("3 stages failed and 1 more did not run for want of their results: ")
    assert "fussy: scores.csv holds no number in row 7 " in message
    assert "bug: ZeroDivisionError: division by zero in two lines " in message
    assert "exit: SystemExit: 3 " in message
    assert all(str(store.log_path(stage)) in message for stage in broken)
    assert "in fail" in store.log_path(broken[1]).read_text()
    assert toy.noted(tmp_path) == ["free", "free"]
    assert len(events.labels("failed")) == 3
    assert events.labels("started").count("bug") == 1
    assert not list(store.root.glob(".*"))


@pytest.mark.parametrize("times", [1, 9])
def test_a_stage_whose_worker_is_killed_is_tried_as_often_as_was_said(tmp_path, cluster, times):
    store, events, notes = Store(tmp_path / "store"), Events(), str(tmp_path)
    stage = Stage(toy.die, notes=notes, times=times, label="fragile")
    free = Stage(toy.write, text="free", notes=notes)
    where = RayCluster(address=cluster.address, retries=2)
    if times == 1:
        run([stage, free], store, workers=None, cluster=where, events=events)
        assert store.manifest(stage)["provenance"]["attempt"] == 2
    else:
        with pytest.raises(
            StageError, match=r"^1 stage failed: fragile: its worker process was lost, at the last of 3 "
        ):
            run([stage, free], store, workers=None, cluster=where, events=events)
        assert store.log_path(stage).exists()
    assert toy.noted(tmp_path).count("die") == (2 if times == 1 else 3)
    assert toy.noted(tmp_path).count("free") == 1
    again = [event.message for event in events if event.label == "fragile" and event.kind == "started"][1]
    assert again == "its worker process was lost; trying again (1 of 2)"
    # Ray tells of a lost worker before the process is gone, and the draft of a writer that lives is left alone.
    for _ in range(100):
        store.clean_temporary()
        if not list(store.root.glob(".*")):
            break
        time.sleep(0.1)
    assert not list(store.root.glob(".*"))


def test_a_node_that_does_not_see_the_store_says_what_to_do(tmp_path, here, monkeypatch):
    part = Stage(toy.write, text="part", label="part")
    store = Store(tmp_path / "here")
    run([part], store, workers=0)
    # The nodes open another folder under the address, as on a machine that has its own disk.
    monkeypatch.setattr(Store, "address", str(tmp_path / "elsewhere"))
    with pytest.raises(
        StageError, match=r"joined cannot read part on .*there is no result of part.*must reach one store"
    ):
        run([Stage(toy.join, parts=[part], label="joined")], store, workers=None, cluster=here)


def test_a_need_that_no_node_meets_fails_its_stage_only(tmp_path, here, monkeypatch):
    monkeypatch.setattr("overopt.workflow.ray_pool._PATIENCE_S", 0.0)
    store = Store(tmp_path)
    large = Stage(toy.write, text="large", label="large", needs=Needs(gpus=2, memory_gb=1))
    free = Stage(toy.write, text="free")
    with pytest.raises(StageError, match="large needs 1 core, 2 GPUs, 1 GB of memory, and no node of the cluster has"):
        run([large, free], store, workers=None, cluster=here)
    assert store.state(free) == "ready"


@pytest.mark.parametrize(
    ("address", "words"),
    [("127.0.0.1:1", r"127.0.0.1:1: .*refused"), ("nonsense", "nonsense: an address is host:port")],
)
def test_an_address_where_nobody_answers_is_named(tmp_path, address, words):
    with pytest.raises(ConfigError, match=f"^no Ray cluster answers at {words}"):
        run(tree(), Store(tmp_path), workers=None, cluster=RayCluster(address=address))


@pytest.mark.slow
def test_a_lost_node_costs_only_the_stages_that_it_was_carrying_out(tmp_path, capfd):
    from ray.cluster_utils import Cluster

    notes, events = str(tmp_path), Events()
    first = [Stage(toy.write, text=text, notes=notes, cost=2) for text in "abcd"]
    slow = [
        Stage(toy.wait_for, part=part, notes=notes, file="go", chatty=True, label=f"slow {n}")
        for n, part in enumerate(first)
    ]
    last = Stage(toy.join, parts=[*first, *slow], notes=notes)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]

        def watch(event):
            events(event)
            if len(nodes) == 2 and toy.noted(tmp_path).count("wait") == 4:
                cluster.remove_node(nodes.pop(), allow_graceful=False)
            if event.kind == "started" and event.message:
                (tmp_path / "go").touch()

        store = Store(tmp_path / "store")
        run([last], store, workers=None, cluster=RayCluster(address=cluster.address), events=watch)
    finally:
        cluster.shutdown()
    ran = toy.noted(tmp_path)
    assert sorted(text for text in ran if len(text) == 1) == ["a", "b", "c", "d"]
    again = [event.message for event in events if event.kind == "started" and event.message]
    # One that ended before its node did is found in the store when it is started again, and not carried out twice.
    assert 1 <= ran.count("wait") - 4 <= len(again) <= 2
    assert all("lost" in message for message in again)
    assert capfd.readouterr().out == ""  # results go to standard output, so Ray's notices must not
    alone = Store(tmp_path / "alone")
    run([last], alone, workers=0)
    assert files(store) == files(alone)
    assert not list(store.root.glob(".*"))


def ray_processes():
    """Command lines of this machine's Ray processes that live in a temporary folder of ours."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = path.with_name("stat").read_text().rpartition(")")[2].split()[0]
            if "overopt-ray-" in line and state != "Z":
                found.append(line)
    return found


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_cluster_that_was_started_here_is_gone_afterwards(tmp_path, is_killed):
    before = set(ray_processes())
    command = [sys.executable, Path(__file__).parent / "driver.py", tmp_path / "store", tmp_path, "ray", "silent"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while "wait" not in toy.noted(tmp_path):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert set(ray_processes()) > before
    if is_killed:
        process.send_signal(signal.SIGKILL)
    else:
        (tmp_path / "go").touch()
    said = process.communicate(timeout=60)[0]
    assert process.returncode == (-signal.SIGKILL if is_killed else 0), said
    assert said == ""  # Ray's own remarks are kept quiet
    while set(ray_processes()) - before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
