"""Patterns find what a backtracking engine finds, and take no longer for being nested."""

import random
import re

import pytest

from overopt.envs.machine.limits import LimitReached, Limits, Meter
from overopt.envs.machine.pattern_syntax import PatternError
from overopt.envs.machine.patterns import MAX_CACHED, Match, Pattern


def pattern(text: str, steps: int = 10**9, **options) -> Pattern:
    return Pattern(text, Meter(Limits(steps=steps)), **options)


ATOMS = ["a", "b", "c", ".", "[ab]", "[^a]", "(a)", "(ab|b)", "(b*c)", r"\b", "^", "$", r"\w"]
REPEATS = ["", "", "", "*", "+", "?", "{1,2}", "{2}"]


def random_pattern(rng: random.Random) -> str:
    branches = []
    for _ in range(rng.choice([1, 1, 2])):
        atoms = [rng.choice(ATOMS) for _ in range(rng.randint(1, 4))]
        branches.append(
            "".join(atom + (rng.choice(REPEATS) if atom not in ("^", "$", r"\b") else "") for atom in atoms)
        )
    return "|".join(branches)


def test_random_patterns_match_where_the_library_engine_says():
    rng = random.Random(0)
    matched = 0
    for _ in range(2_000):
        source = random_pattern(rng)
        line = "".join(rng.choice("abc ") for _ in range(rng.randint(0, 8)))
        expected = re.search(source, line)
        found = pattern(source, extended=True).search(line)
        assert (found is not None) == (expected is not None), (source, line)
        assert pattern(source, extended=True).matches(line) == (expected is not None)
        if found is not None:
            # Same beginning; the end is the furthest of all ends, which brute force finds.
            ends = [end for end in range(len(line) + 1) if ends_at(source, line, found.start, end)]
            assert (found.start, found.end) == (expected.start(), max(ends)), (source, line)
            matched += 1
    assert matched > 500


def ends_at(source: str, line: str, start: int, end: int) -> bool:
    # The marker keeps word boundaries and line ends as they are in the whole line.
    return (
        re.compile(f"(?:{source})(?=[^\\n]{{{len(line) - end}}}$)").match(line, start) is not None
        and re.compile(f"(?:{source})(?<=^[^\\n]{{{end}}})").match(line, start) is not None
    )


def test_all_matches_are_those_that_replacing_would_replace():
    rng = random.Random(1)
    for _ in range(2_000):
        source = random_pattern(rng).replace("|", "")
        if "(ab" in source:
            continue
        line = "".join(rng.choice("abc ") for _ in range(rng.randint(0, 8)))
        found = [(match.start, match.end) for match in pattern(source, extended=True).find_all(line)]
        # Without alternatives greedy and longest agree; an empty match behind a match is not replaced by sed.
        expected, last = [], -1
        for match in re.finditer(source, line):
            if match.end() > match.start() or match.start() != last:
                expected.append(match.span())
            last = match.end()
        assert found == expected, (source, line)


@pytest.mark.parametrize(
    ("text", "line", "groups"),
    [
        (r"\(a*\)b\(c\)", "xaabc", ((1, 3), (4, 5))),
        (r"\(a\)\|\(b\)", "b", (None, (0, 1))),
        (r"\(a*\)*", "aa", ((0, 2),)),
        (r"\(.*\)-\(.*\)", "a-b-c", ((0, 3), (4, 5))),
    ],
)
def test_groups_are_where_they_matched(text, line, groups):
    assert pattern(text).search(line).groups == groups


def test_the_longest_of_the_leftmost_matches_wins():
    assert pattern("a|ab|abc", extended=True).search("xabcd") == Match(1, 4)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("(", {"extended": True}, "Unmatched ( or \\("),
        (r"\)", {}, "Unmatched ) or \\)"),
        ("[a", {}, "Unmatched [, [^, [:, [., or [="),
        ("a\\", {}, "Trailing backslash"),
        ("[b-a]", {}, "Invalid range end"),
        ("a{1,99999}", {"extended": True}, "Regular expression too big"),
        ("((a{200}){200}){200}", {"extended": True}, "Regular expression too big"),
        ("a" + "*" * 5_000, {}, "Regular expression too big"),
    ],
)
def test_malformed_and_huge_patterns_are_refused(text, options, message):
    with pytest.raises(PatternError) as caught:
        pattern(text, **options)
    assert (caught.value.message, caught.value.supported) == (message, True)


def test_back_references_are_not_supported():
    with pytest.raises(PatternError) as caught:
        pattern(r"\(a\)\1")
    assert not caught.value.supported


def steps_of(source: str, length: int) -> int:
    meter = Meter(Limits(steps=10**9))
    compiled = Pattern(source, meter, extended=True)
    compiled.matches("a" * length)
    compiled.find_all("a" * length, 1)
    return 10**9 - meter.left


@pytest.mark.parametrize("source", ["(a+)+b", "(((a*)*)*)*b", "a*a*a*a*a*a*b", "(a|a)*(a|aa)*b", "(a|b)*a(a|b){12}c"])
def test_steps_grow_in_proportion_to_the_text(source):
    short, long = steps_of(source, 1_000), steps_of(source, 8_000)
    assert long - short < 8 * short
    assert long < 40 * 8_000


def test_no_more_states_are_kept_than_allowed():
    compiled = pattern("(a|b)*a(a|b){12}c", extended=True)
    rng = random.Random(2)
    compiled.matches("".join(rng.choice("ab") for _ in range(5_000)))
    assert len(compiled._searcher.cache) <= MAX_CACHED


def test_a_search_that_costs_too_much_is_stopped():
    with pytest.raises(LimitReached):
        pattern("a*b", steps=500).matches("a" * 100_000)
