"""Keys, arguments and order of stages."""

import copy
import enum
import hashlib
import itertools
import math
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import toy_stages as toy
from hypothesis import given
from hypothesis import strategies as st

from overopt.errors import ConfigError
from overopt.workflow import Stage, StageContext, plan, stage_function


def versioned(version, name="same"):
    def body(ctx, *, a=1, b=2.0):
        pass

    body.__qualname__ = "body"  # as if it stood at the top of a module
    return stage_function(version=version, name=name)(body)


def test_the_key_changes_with_name_version_parameters_and_inputs():
    one, two = Stage(toy.write, text="1"), Stage(toy.write, text="2")
    keys = [
        Stage(versioned(1)).key,
        Stage(versioned(2)).key,
        Stage(versioned(1, name="other")).key,
        Stage(versioned(1), a=2).key,
        Stage(versioned(1), a=True).key,
        Stage(versioned(1), a="1").key,
        Stage(versioned(1), a=None).key,
        Stage(versioned(1), a=[1]).key,
        Stage(versioned(1), a=[[1]]).key,
        Stage(versioned(1), a={"x": 1}).key,
        Stage(versioned(1), a=one).key,
        Stage(versioned(1), a=two).key,
        Stage(versioned(1), b=one).key,
        Stage(versioned(1), a=one.key).key,
        Stage(versioned(1), a=toy.Settings()).key,
        Stage(versioned(1), a=toy.Settings(width=9)).key,
        Stage(versioned(1), a={"width": 8, "rate": 0.5}).key,
        Stage(versioned(1), a=[one, two]).key,
        Stage(versioned(1), a=[two, one]).key,
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in keys)


def test_the_key_changes_with_the_input_of_an_input():
    def chain(text):
        return Stage(toy.join, parts=[Stage(toy.join, parts=[Stage(toy.write, text=text)])])

    assert chain("a").key == chain("a").key != chain("b").key


def test_nothing_else_enters_the_key():
    part = Stage(toy.write, text="x")
    key = Stage(toy.join, parts=[part], notes="n", named={"a": part, "b": part}).key
    assert key == Stage(toy.join, named={"b": part, "a": part}, notes="n", parts=(part,)).key
    assert key == Stage(toy.join, label="L", cost=9, parts=[part], notes="n", named={"a": part, "b": part}).key
    relabelled = Stage(toy.write, label="other words", cost=3, text="x")
    assert key == Stage(toy.join, parts=[relabelled], notes="n", named={"a": part, "b": relabelled}).key


def test_a_default_and_the_same_value_written_out_are_the_same_work():
    assert Stage(versioned(1)).key == Stage(versioned(1), a=1, b=2.0).key
    assert Stage(toy.write, text="x").parameters == {"text": "x", "notes": "", "settings": None}


def test_the_key_is_the_same_in_every_release():
    # Computed once by hand from the canonical JSON; a change here orphans every stored result.
    expected = '{"name":"same","parameters":{"a":1,"b":2.0},"schema":"overopt.stage/1","version":1}'
    assert Stage(versioned(1)).key == hashlib.sha256(expected.encode()).hexdigest()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def shuffled(value, to_tuple):
    """The same value with other dict orders, and lists as tuples where ``to_tuple``."""
    if isinstance(value, dict):
        items = list(value.items())
        random.Random(0).shuffle(items)
        return {key: shuffled(item, to_tuple) for key, item in items}
    if isinstance(value, list):
        return (tuple if to_tuple else list)(shuffled(item, to_tuple) for item in value)
    return value


@given(JSON, st.booleans())
def test_order_of_dicts_and_kind_of_sequence_never_matter(value, to_tuple):
    assert Stage(versioned(1), a=value).key == Stage(versioned(1), a=shuffled(value, to_tuple)).key


@given(JSON, JSON)
def test_keys_are_equal_exactly_when_the_values_are(one, two):
    # repr tells 1, 1.0 and True apart, as the key does.
    same = repr(shuffled(one, False)) == repr(shuffled(two, False)) or canonical_repr(one) == canonical_repr(two)
    assert (Stage(versioned(1), a=one).key == Stage(versioned(1), a=two).key) == same


def canonical_repr(value):
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{canonical_repr(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical_repr, value)) + "]"
    return repr(value)


def test_a_list_that_changes_later_does_not_change_the_work(tmp_path):
    words = ["a"]
    stage = Stage(versioned(1), a=words)
    words.append("b")
    assert stage.task().arguments["a"] == ["a"]
    stage.task().arguments["a"].append("c")  # as a stage function might
    assert stage.task().arguments["a"] == ["a"]


class Colour(enum.StrEnum):
    RED = "red"


def test_values_that_are_numbers_and_strings_by_inheritance_count_as_such():
    assert Stage(versioned(1), a=np.float64(0.1)).key == Stage(versioned(1), a=0.1).key
    assert Stage(versioned(1), a=Colour.RED).key == Stage(versioned(1), a="red").key


@dataclass
class Loose:
    width: int = 1


@dataclass(frozen=True)
class Holder:
    thing: object


class Pair(NamedTuple):
    a: int
    b: int


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        ([1, {"x": -math.inf}], r"a\[1\]\.x is -inf"),
        ({1, 2}, "set"),
        (len, "builtin_function"),
        (lambda: 0, "function"),
        (object(), "object"),
        (b"bytes", "bytes"),
        (Path("x"), "PosixPath"),
        (np.int64(1), "int64"),
        (np.zeros(2), "ndarray"),
        (1j, "complex"),
        ({1: 2}, "keys are strings"),
        ({"$stage": "x"}, r"'\$stage'"),
        (Loose(), "frozen=True"),
        (toy.Settings, "type"),
        (Pair(1, 2), "Pair"),
        (Holder({1}), "a.thing is a set"),
        (Holder(math.nan), "a.thing is nan"),
        (Holder(Stage(toy.write, text="x")), "argument of its own"),
    ],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_a_parameter_that_has_no_identity_is_refused_in_one_sentence(value, word):
    with pytest.raises(ConfigError, match=word) as caught:
        Stage(versioned(1), a=value)
    assert str(caught.value).startswith("stage same: a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Stage(versioned(1), c=1), "stage same: .*'c'"),
        (lambda: Stage(toy.write), "stage toy_stages.write: .*'text'"),
        (lambda: Stage(print), "'print' is not marked"),
        (lambda: Stage(versioned(1), cost=0), "cost"),
        (lambda: Stage(versioned(1), cost=math.nan), "cost"),
        (lambda: versioned(0), "version"),
        (lambda: versioned(True), "version"),
        (lambda: versioned(1, name="a/b"), "'a/b'"),
        (lambda: versioned(1, name=".hidden"), "hidden"),
        (lambda: versioned(1, name="x" * 121), "120"),
        (lambda: stage_function()(lambda ctx: None), "top of a module"),
    ],
)
def test_a_wrong_stage_is_refused_where_it_is_made(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_stage_functions_inside_functions_and_in_scripts_are_refused():
    def inner(ctx: StageContext) -> None:
        pass

    with pytest.raises(ConfigError, match="top of a module"):
        stage_function()(inner)
    inner.__qualname__, inner.__module__ = "inner", "__main__"
    with pytest.raises(ConfigError, match="name="):
        stage_function()(inner)
    assert Stage(stage_function(name="mine")(inner)).name == "mine"


def test_names_leave_out_the_package():
    def body(ctx):
        pass

    body.__qualname__, body.__module__ = "body", "overopt.policies.stages"
    assert Stage(stage_function()(body)).name == "policies.stages.body"


def test_the_label_is_the_title_unless_given():
    assert Stage(toy.write, text="x").label == "write"
    assert Stage(toy.write, label="write x", text="x").label == "write x"
    assert Stage(versioned(1)).label == "same"


def test_inputs_are_found_wherever_they_are():
    a, b, c = (Stage(toy.write, text=text) for text in "abc")
    stage = Stage(versioned(1), a={"x": [a, (b, 1)], "y": c, "z": [a]}, b=b)
    assert list(stage.inputs) == [a, b, c]
    assert stage.input_keys == [a.key, b.key, c.key]
    folders = {a.key: Path("A"), b.key: Path("B"), c.key: Path("C")}
    assert stage.task().bound(folders) == {
        "a": {"x": [Path("A"), (Path("B"), 1)], "y": Path("C"), "z": [Path("A")]},
        "b": Path("B"),
    }


def test_the_plan_puts_inputs_first_and_each_key_once():
    generator = random.Random(0)
    for _ in range(30):
        stages = []
        for number in range(12):
            parts = generator.sample(stages, min(len(stages), generator.randrange(4)))
            stages.append(Stage(versioned(1), a=number, b=parts))
        twins = [Stage(versioned(1), label="twin", a=number) for number in range(2)]
        targets = generator.sample(stages, 6) + twins
        order = plan(targets)
        position = {stage.key: place for place, stage in enumerate(order)}
        assert len(position) == len(order)
        assert all(position[part.key] < position[stage.key] for stage in order for part in stage.inputs)
        needed, frontier = set(), list(targets)
        while frontier:
            stage = frontier.pop()
            needed.add(stage.key)
            frontier.extend(stage.inputs)
        assert set(position) == needed


def test_the_plan_keeps_the_order_of_independent_targets():
    stages = [Stage(versioned(1), a=number) for number in (3, 1, 2)]
    assert plan(stages) == stages


def test_a_chain_of_thousands_and_a_diamond_of_sixty_floors_are_planned():
    stage = Stage(versioned(1))
    for number in range(3000):
        stage = Stage(versioned(1), a=number, b=stage)
    assert len(plan([stage])) == 3001
    for number in range(60):  # 2^60 paths
        stage = Stage(versioned(1), a=[stage, stage], b=Stage(versioned(1), a=number, b=stage))
    assert len(plan([stage])) == 3001 + 60 * 2


def test_two_functions_of_one_name_are_refused():
    def thief(ctx):
        pass

    thief.__qualname__ = "thief"
    with pytest.raises(ConfigError, match="two stage functions are called same"):
        plan([Stage(versioned(1)), Stage(stage_function(name="same", version=2)(thief))])
    assert len(plan([Stage(versioned(1)), Stage(versioned(2))])) == 2  # one function, reloaded with a new version


def test_stages_compare_by_key_and_survive_copies():
    one, two = Stage(toy.write, text="x"), Stage(toy.write, label="y", text="x")
    assert one == two
    assert len({one, two}) == 1
    assert copy.copy(one) == one
    assert one != Stage(toy.write, text="z")
    assert one != "x"


def test_settings_with_equal_fields_and_other_classes_are_other_work():
    settings = toy.Settings(width=3)
    keys = {Stage(versioned(1), a=value).key for value in (settings, replace(settings, width=4), Holder(3), Holder(4))}
    assert len(keys) == 4
    assert all(a != b for a, b in itertools.combinations(keys, 2))
