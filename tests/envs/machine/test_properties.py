"""What holds whatever the script: complete record, sound tree, repeatable runs, stops between changes."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from overopt.envs.machine import Limits, Machine, Write
from overopt.envs.machine.files import FileSystem
from overopt.envs.machine.parser import parse
from overopt.envs.machine.provenance import content_sha
from overopt.envs.machine.text import byte_length, canonical

from .fuzz import fuzz_machine, script

BASE = fuzz_machine()
State = dict[str, tuple[int, str | None]]


def state(machine: Machine) -> State:
    """The inode at each path, with the hash of its content when it is a file."""
    return {
        path: (entry.inode, content_sha(entry.text) if entry.kind == "file" else None)
        for path, entry in machine.tree().items()
    }


def replayed(before: State, writes: tuple[Write, ...]) -> State:
    """The state that the record says follows from ``before``."""
    now = dict(before)
    for write in writes:
        if write.refused:
            continue
        if write.operation in ("remove", "rmdir"):
            del now[write.path]
        elif write.operation == "rename":
            for path in [path for path in now if path == write.path or path.startswith(write.path + "/")]:
                now[write.target + path[len(write.path) :]] = now.pop(path)
        elif write.operation == "link":
            now[write.target] = now[write.path]
        elif write.operation in ("write", "append"):
            if write.path not in now or now[write.path][0] == write.inode:
                assert now[write.path][1] == write.sha_before
                now = {path: (i, write.sha_after if i == write.inode else sha) for path, (i, sha) in now.items()}
            else:
                now[write.path] = (write.inode, write.sha_after)
        elif write.operation not in ("mode", "time"):
            assert write.path not in now
            now[write.path] = (write.inode, write.sha_after)
    return now


def unsound(files: FileSystem) -> list[str]:
    """What is wrong with the bookkeeping of a file system."""
    problems = []
    names: dict[int, int] = {1: 1}
    for node in files.nodes.values():
        for number in node.entries.values():
            names[number] = names.get(number, 0) + 1
            child = files.nodes.get(number)
            if child is None:
                problems.append(f"{node.number} holds {number}, which is gone")
            elif child.kind == "folder" and child.parent != node.number:
                problems.append(f"folder {number} lies in {node.number} but says {child.parent}")
    for node in files.nodes.values():
        if names.get(node.number, 0) != (node.links if node.kind != "folder" else 1):
            problems.append(f"{node.number} has {names.get(node.number, 0)} names, not {node.links}")
        if node.kind == "file" and node.size != byte_length(node.text):
            problems.append(f"{node.number} has {byte_length(node.text)} bytes, not {node.size}")
        if node.kind == "file" and node.sha not in (None, content_sha(node.text)):
            problems.append(f"{node.number} has a stale hash")
        if node.text != canonical(node.text):
            problems.append(f"{node.number} is not in the machine's spelling")
    if files.used != sum(node.size for node in files.nodes.values() if node.kind == "file"):
        problems.append("the used bytes are counted wrongly")
    reached = {node.number for _, node in files.paths()}
    return problems + [f"{number} cannot be reached" for number in files.nodes.keys() - reached]


def test_the_record_explains_every_change_and_the_tree_stays_sound():
    for number in range(600):
        machine = BASE.copy()
        before, recorded = state(machine), len(machine.writes)
        for part in range(3):
            machine.run(script(random.Random(f"record-{number}-{part}")))
        assert replayed(before, machine.writes[recorded:]) == state(machine)
        assert unsound(machine.files) == []


def test_a_call_that_is_stopped_anywhere_leaves_record_and_tree_in_agreement():
    texts = [
        "cat fruit.txt numbers.txt > out; sed -i s/a/b/ fruit.txt; cp -r src copy; rm -rf src; mv copy src",
        "sort numbers.txt > numbers.txt; echo x >> fruit.txt; ln fruit.txt hard; tee a b c < mixed.txt; rm hard a",
        "mkdir -p p/q/r; cat fruit.txt | tee p/q/r/t > u; mv p v; find v -delete; chmod 600 u; touch u w",
    ]
    stopped = 0
    for steps in range(20, 9_000, 45):
        for text in texts:
            machine = Machine(limits=Limits(steps=steps))
            for path, content in (("fruit.txt", "apple\n" * 40), ("numbers.txt", "3\n1\n"), ("mixed.txt", "m\n" * 99)):
                machine.put(path, content)
            machine.put("src/deep/f", "f\n")
            before, recorded = state(machine), len(machine.writes)
            stopped += machine.run(text).limits == ("steps",)
            assert replayed(before, machine.writes[recorded:]) == state(machine)
            assert unsound(machine.files) == []
    assert stopped > 100


def test_the_same_calls_give_the_same_results_and_a_copy_goes_on_alike():
    for number in range(200):
        texts = [script(random.Random(f"same-{number}-{part}")) for part in range(4)]
        first, second = BASE.copy(), BASE.copy()
        results = [first.run(text) for text in texts]
        assert [second.run(text) for text in texts[:2]] == results[:2]
        third = second.copy()
        for machine in (second, third):
            assert [machine.run(text) for text in texts[2:]] == results[2:]
            assert machine.tree() == first.tree()
            assert machine.writes == first.writes
            assert machine.reads == first.reads


def test_a_copy_is_independent():
    machine = BASE.copy()
    kept = machine.copy()
    before = kept.tree(), kept.writes, kept.folder
    machine.run("cd src; rm -rf ../*.txt; echo x > main.py; x=1; mkdir new")
    assert (kept.tree(), kept.writes, kept.folder) == before


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=200))
def test_any_text_is_parsed_and_run(text):
    parse(text, Limits())
    machine = BASE.copy()
    result = machine.run(text)
    assert 0 <= result.status <= 255
    assert unsound(machine.files) == []


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("ab'\"\\$`(){}|&;<>!#*?~=\n\t -"), max_size=60))
def test_any_text_of_special_characters_is_parsed_and_run(text):
    assert 0 <= BASE.copy().run(text).status <= 255
