"""Rows of prompts with their replies, against rows written out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from overopt.hf.packing import PromptReplies, attention_mask

PROMPTS = [[11, 12, 13], [21], [31, 32]]
REPLIES = [(2, [1, 2]), (0, [3]), (0, [4, 5]), (2, [6]), (0, [7])]


def one_part(share, **options):
    (tokens,) = PromptReplies(PROMPTS, REPLIES, pad=99, share=share).parts(1_000, **options)
    return tokens


def test_a_prompt_stands_once_for_its_replies():
    tokens = one_part(2)
    assert tokens.ids.tolist() == [
        [11, 12, 13, 7, 99, 99],
        [31, 32, 1, 2, 6, 99],
        [11, 12, 13, 3, 4, 5],
    ]
    assert tokens.segment.tolist() == [[0, 0, 0, 1, -1, -1], [0, 0, 1, 1, 2, -1], [0, 0, 0, 1, 2, 2]]
    assert tokens.position.tolist() == [[0, 1, 2, 3, 0, 0], [0, 1, 2, 3, 2, 0], [0, 1, 2, 3, 3, 4]]
    assert tokens.index.tolist() == [4, 0, 3, 1, 2]
    assert tokens.target.tolist() == [7, 1, 2, 6, 3, 4, 5]
    assert tokens.reply.tolist() == [0, 1, 1, 2, 3, 4, 4]
    assert tokens.offset.tolist() == [0, 0, 1, 0, 0, 0, 1]
    assert tokens.source.tolist() == [2, 6 + 1, 6 + 2, 6 + 1, 12 + 2, 12 + 2, 12 + 4]
    assert tokens.is_shared


def test_the_last_token_of_each_reply_is_known():
    tokens = one_part(2)
    assert tokens.end.tolist() == [3, 6 + 3, 6 + 4, 12 + 3, 12 + 5]
    assert tokens.ids.flatten()[tokens.end].tolist() == [REPLIES[index][1][-1] for index in tokens.index.tolist()]


def test_long_replies_do_not_share_a_row():
    """Three replies of 30 tokens: attention over 90 costs more than the prompt of three twice more."""
    replies = [(0, [1] * 30)] * 3 + [(0, [1] * 4)] * 3

    def rows(**settings):
        parts = PromptReplies(PROMPTS, replies, pad=99, **settings).parts(1_000)
        return sorted(int(tokens.segment[g].max()) for tokens in parts for g in range(len(tokens.ids)))

    assert rows(share=8) == [6]
    assert rows(share=8, room=40) == [1, 1, 1, 3]
    assert rows(share=8, room=None) == [6]
    assert rows(share=2, room=40) == [1, 1, 2, 2]


def test_a_row_keeps_to_the_budget_where_one_reply_does():
    replies = [(0, [1] * 10)] * 6 + [(1, [1] * 50)]
    for tokens in PromptReplies(PROMPTS, replies, pad=99).parts(30):
        assert tokens.ids.numel() <= 30 or tokens.ids.shape == (1, 51)


def test_a_reply_sees_its_prompt_and_itself_up_to_its_place():
    mask = attention_mask(one_part(2), torch.float32)
    assert mask.shape == (3, 1, 6, 6)
    assert (mask[1, 0] == 0).int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]
    assert set(mask.unique().tolist()) == {0.0, torch.finfo(torch.float32).min}


def test_a_row_for_each_reply_needs_no_mask_of_its_own():
    tokens = one_part(1)
    assert not tokens.is_shared
    assert attention_mask(tokens, torch.float32).tolist() == (tokens.segment >= 0).int().tolist()
    assert sorted(row[: (tokens.segment[g] >= 0).sum()] for g, row in enumerate(tokens.ids.tolist())) == [
        [11, 12, 13, 3],
        [11, 12, 13, 4, 5],
        [11, 12, 13, 7],
        [31, 32, 1, 2],
        [31, 32, 6],
    ]


def test_some_of_the_replies_only():
    tokens = one_part(4, members=[3, 1])
    assert tokens.ids.tolist() == [[31, 32, 6, 99], [11, 12, 13, 3]]
    assert tokens.index.tolist() == [3, 1]


def test_numbers_for_each_token_are_found_and_put_back():
    tokens = one_part(2)
    of_reply = torch.tensor([[10.0 * number, 10.0 * number + 1] for number in range(5)])
    found = tokens.of(of_reply)
    assert found.tolist() == [40.0, 0.0, 1.0, 30.0, 10.0, 20.0, 21.0]
    back = torch.full((5, 2), -1.0)
    tokens.put(found, back)
    assert back.tolist() == [[0.0, 1.0], [10.0, -1.0], [20.0, 21.0], [30.0, -1.0], [40.0, -1.0]]
    assert tokens.sums(found).tolist() == [40.0, 1.0, 30.0, 10.0, 41.0]
    assert tokens.sums(found).dtype == torch.float64


@st.composite
def replies(draw):
    prompts = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    lengths = draw(st.lists(st.tuples(st.integers(0, len(prompts) - 1), st.integers(1, 7)), min_size=1, max_size=12))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    ids = [rng.integers(0, 50, length).tolist() for length in prompts]
    return ids, [(prompt, rng.integers(0, 50, length).tolist()) for prompt, length in lengths]


@given(replies(), st.integers(1, 5), st.integers(1, 60))
def test_every_token_is_there_once_in_its_own_text(case, share, budget):
    """Whatever the budget: what a token may attend to, in order of position, is its prompt and its reply so far."""
    prompts, given_replies = case
    seen = []
    widths = []
    for tokens in PromptReplies(prompts, given_replies, pad=0, share=share).parts(budget):
        assert len(tokens.ids) == 1 or tokens.ids.numel() <= budget
        widths.append(tokens.ids.shape[1])
        may_see = attention_mask(tokens, torch.float32)
        width = tokens.ids.shape[1]
        for k in range(len(tokens.target)):
            number, offset = int(tokens.index[tokens.reply[k]]), int(tokens.offset[k])
            seen.append((number, offset))
            prompt, ids = given_replies[number]
            assert int(tokens.target[k]) == ids[offset]
            row, place = divmod(int(tokens.source[k]), width)
            if tokens.is_shared:
                visible = (may_see[row, 0, place] == 0).nonzero()[:, 0]
            else:
                visible = may_see[row, : place + 1].nonzero()[:, 0]
            assert tokens.ids[row, visible].tolist() == [*prompts[prompt], *ids[:offset]]
            assert tokens.position[row, visible].tolist() == list(range(len(prompts[prompt]) + offset))
    assert sorted(seen) == [
        (number, place) for number, (_, ids) in enumerate(given_replies) for place in range(len(ids))
    ]
    assert widths == sorted(widths), "parts of like lengths hold little padding"


@pytest.mark.parametrize(("budget", "rows"), [(1, 5), (5, 4)])
def test_a_budget_too_small_for_one_row_takes_rows_one_by_one(budget, rows):
    parts = list(PromptReplies(PROMPTS, REPLIES, pad=0, share=2).parts(budget))
    assert [len(part.ids) for part in parts] == [1] * rows
