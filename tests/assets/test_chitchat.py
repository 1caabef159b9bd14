"""Conversations: three splits that share none, prompts and replies that follow one another."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overopt.assets.chitchat import SPLIT_PERCENT, exchanges, is_held_key, load_conversations, split_of
from overopt.errors import DataError

SPLITS = tuple(SPLIT_PERCENT)


@pytest.fixture(scope="module")
def conversations():
    return load_conversations()


@pytest.fixture(scope="module")
def splits(conversations):
    return {split: exchanges(conversations, split) for split in SPLITS}


def test_all_conversations_of_the_data_set_are_read(conversations):
    """7,168: the number of the data set's documentation."""
    assert len(conversations) == 7_168
    turns = [turn for conversation in conversations for turn in conversation]
    assert all(turn and turn == " ".join(turn.split()) for turn in turns)


def test_no_conversation_is_in_two_splits(conversations, splits):
    identities = {split: {row.conversation for row in found.rows} for split, found in splits.items()}
    for split, own in identities.items():
        for other in SPLITS:
            assert split == other or not own & identities[other]
    texts = {"\n".join(c): set() for c in conversations}
    for conversation in conversations:
        texts["\n".join(conversation)].add(split_of(conversation))
    assert all(len(found) == 1 for found in texts.values())


def test_long_replies_are_not_shared_between_splits(splits):
    """Whoever says the same 12 words in two conversations is quoting; a leak of whole conversations would be many."""
    replies = {split: {r.reply for r in found.rows if len(r.reply.split()) >= 12} for split, found in splits.items()}
    for held_out in ("preference", "evaluation"):
        assert len(replies[held_out]) > 1_000
        assert len(replies[held_out] & replies["train"]) < 0.005 * len(replies[held_out])


def test_splits_have_their_shares(conversations, splits):
    """Binomial: the share of a hash split differs from its aim by chance alone."""
    n = sum(found.conversations for found in splits.values())
    for split, percent in SPLIT_PERCENT.items():
        share = percent / 100
        z = (splits[split].conversations - n * share) / (n * share * (1 - share)) ** 0.5
        assert abs(z) < 4


def test_exchanges_are_three_consecutive_turns_of_their_conversation(conversations, splits):
    windows = set()
    for conversation in conversations:
        for start in range(len(conversation) - 2):
            first, second, reply = conversation[start : start + 3]
            windows.add((f"{first}\n{second}\n", reply, split_of(conversation)))
    for split, found in splits.items():
        assert {(row.prompt, row.reply, split) for row in found.rows} <= windows
        assert all(row.prompt.count("\n") == 2 and row.prompt.endswith("\n") for row in found.rows)


def test_every_exchange_is_used_or_counted(conversations, splits):
    for split, found in splits.items():
        mine = [c for c in conversations if len(c) > 2 and split_of(c) == split]
        different = {"\n".join(c): c for c in mine}
        assert found.conversations == len(different)
        assert found.duplicates == len(mine) - len(different)
        assert len(found.rows) + found.held_keys == sum(len(c) - 2 for c in different.values())
        assert found.held_keys < 0.01 * len(found.rows)


CONVERSATION = st.lists(st.text(alphabet="ab c", min_size=1, max_size=3), min_size=3, max_size=5)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(CONVERSATION, min_size=1, max_size=8))
def test_a_conversation_said_twice_is_used_once(made_up):
    def of(conversations):
        found = []
        for split in SPLITS:
            try:
                found.append(exchanges(conversations, split))
            except DataError:
                continue
        return found

    once, twice = of(made_up), of([*made_up, *made_up])
    assert [part.rows for part in once] == [part.rows for part in twice]
    assert sum(part.duplicates for part in twice) == sum(part.duplicates for part in once) + len(made_up)
    identities = [identity for part in once for identity in {row.conversation for row in part.rows}]
    assert len(identities) == len(set(identities))


def test_turns_of_a_held_key_are_left_out_with_every_exchange_they_are_in():
    conversation = ["one", "two", "three", "x x x x x x x", "five", "six", "seven"]
    found = exchanges([conversation], split_of(conversation))
    assert [(row.prompt, row.reply) for row in found.rows] == [("one\ntwo\n", "three"), ("five\nsix\n", "seven")]
    assert (found.conversations, found.duplicates, found.held_keys) == (1, 0, 3)


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("a a a a a a", True),
        ("A a A a A a", True),
        ("a a a a a", False),
        ("ha ha ha ho ho ho", False),
        ("ha ha ha ha ho ho ho", True),
        ("", False),
        ("I am very very very glad", False),
    ],
)
def test_a_held_key_is_fewer_than_a_third_different_words_of_six(turn, expected):
    assert is_held_key(turn) is expected


def test_a_split_without_exchanges_is_refused():
    short = ["Hello?", "Hi!"]
    with pytest.raises(DataError, match="has more than 2 turns"):
        exchanges([short], split_of(short))
