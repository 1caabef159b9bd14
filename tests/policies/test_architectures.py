"""Every family of models gives the numbers of its own plain forward pass, whatever engine reads it.

Ragged prompts, unequal numbers of replies, replies that leave, more tokens than room grows by: compared for every
token of the vocabulary at every step.
"""

import numpy as np
import pytest
import torch
from oracles.language_models import ARCHITECTURES, normalised, plain_logprobs, tiny_model
from transformers import LlamaForCausalLM, MambaConfig, MambaForCausalLM

from overopt.errors import ConfigError
from overopt.hf.encoding import has_whole_attention
from overopt.hf.hidden import fits_packing
from overopt.hf.packing import PromptReplies
from overopt.policies import decoding
from overopt.policies.decoding import GROWTH, CopiedPrompts, SharedPrompts, open_session
from overopt.policies.logprobs import output_head, reply_statistics, token_logprobs
from overopt.stats.sampling import SamplerSettings

PROMPTS = [[5, 11, 3], [7], [9, 8, 7, 6, 5, 4, 3, 12, 13, 14, 15, 20], [30, 31], [1, 1, 2, 0]]
PLACES = [0, 0, 0, 1, 2, 2, 3, 3, 3, 4]
STEPS = 2 * GROWTH + 4
LEAVING = {2: [1, 6], 3: [0, 2], GROWTH + 1: [3], STEPS - 3: [0]}
"""Step and which of the replies still there leave; prompts 1 and 0 lose all of theirs, one after the other."""
REPLIES = [(0, 5), (0, 1), (2, 9), (1, 2), (0, 9), (2, 7), (0, 1), (2, 12), (3, 1), (0, 4)]
"""Prompt and length."""
SHARED = ("llama", "gpt-neox", "qwen2", "gpt2", "gemma2-whole", "granite", "cohere", "opt")


def decode(model, session, *, prompts=PROMPTS, places=PLACES, steps=STEPS, leaving=LEAVING):
    """Each reply's ids, prompt included, and the log-probabilities (V,) that the session gave after each place."""
    generator = torch.Generator().manual_seed(1)
    ids = [list(prompts[place]) for place in places]
    found = [[] for _ in places]
    alive = list(range(len(places)))
    logits = session.start(prompts, torch.tensor(places))
    for step in range(steps):
        for row, number in enumerate(alive):
            found[number].append(normalised(logits[row].double().numpy()))
        if step in leaving:
            rows = [row for row in range(len(alive)) if row not in leaving[step]]
            session.keep(torch.tensor(rows))
            alive = [alive[row] for row in rows]
        tokens = torch.randint(0, 40, (len(alive),), generator=generator)
        for number, token in zip(alive, tokens.tolist(), strict=True):
            ids[number].append(token)
        logits = session.step(tokens)
    return ids, found


def worst_miss(model, ids, found, *, prompts=PROMPTS, places=PLACES):
    """Largest difference to the model's own pass over each row alone."""
    misses = []
    for row, logprobs, place in zip(ids, found, places, strict=True):
        start = len(prompts[place])
        # One token more: the last log-probabilities follow all that was drawn.
        expected = plain_logprobs(model, row[:start], [*row[start:], 0])
        misses.append(np.abs(expected[: len(logprobs)] - np.array(logprobs)).max())
    return max(misses)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_decoding_gives_the_log_probabilities_of_a_plain_pass(architecture):
    model = tiny_model(architecture, seed=3)
    session = open_session(model)
    assert isinstance(session, SharedPrompts if architecture in SHARED else CopiedPrompts)
    ids, found = decode(model, session)
    assert {len(row) for row in found} == {3, 4, GROWTH + 2, STEPS - 2, STEPS}
    assert worst_miss(model, ids, found) < 1e-5
    spread = np.std([logprobs[-1] for logprobs in found], axis=0).mean()
    assert spread > 0.1, "rows that look alike would hide that one was taken for another"


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
@torch.no_grad()
def test_copied_prompts_give_the_same(architecture):
    model = tiny_model(architecture, seed=3)
    ids, found = decode(model, CopiedPrompts(model))
    assert worst_miss(model, ids, found) < 1e-5


@torch.no_grad()
def test_prompts_read_in_parts_are_joined(monkeypatch):
    model = tiny_model("qwen2", seed=3)
    assert isinstance(open_session(model), SharedPrompts)
    monkeypatch.setattr(decoding, "PREFILL_ELEMENTS", 2 * 12 * (12 + 4 * 32))
    ids, found = decode(model, open_session(model))
    assert worst_miss(model, ids, found) < 1e-5


@pytest.mark.parametrize(
    ("prompts", "places"), [([[7, 8], [9, 3]], [0, 0, 1, 1]), ([[7]], [0]), ([[7, 8], [3]], [0, 1])]
)
@torch.no_grad()
def test_full_tables_without_padding(prompts, places):
    """Nothing to spread and nothing to mask: another way through the code."""
    model = tiny_model("llama", seed=3)
    case = {"prompts": prompts, "places": places}
    ids, found = decode(model, open_session(model), steps=GROWTH + 2, leaving={}, **case)
    assert worst_miss(model, ids, found, **case) < 1e-5


def lengthened(seed):
    generator = torch.Generator().manual_seed(seed)
    return [(prompt, torch.randint(0, 40, (length,), generator=generator).tolist()) for prompt, length in REPLIES]


@pytest.mark.parametrize("share", [1, 4])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_measuring_gives_the_log_probabilities_of_a_plain_pass(architecture, share):
    model = tiny_model(architecture, seed=3)
    if not fits_packing(model):
        assert architecture not in SHARED
        share = 1
    replies = lengthened(seed=2)
    expected = [plain_logprobs(model, PROMPTS[prompt], ids)[range(len(ids)), ids] for prompt, ids in replies]
    packed = PromptReplies(PROMPTS, replies, pad=0, share=share)
    with torch.no_grad():
        for part in packed.parts(40):
            logprobs = token_logprobs(model, part, SamplerSettings()).tolist()
            for value, reply, offset in zip(logprobs, part.reply.tolist(), part.offset.tolist(), strict=True):
                assert value == pytest.approx(expected[part.index[reply]][offset], abs=1e-5)
    sums = reply_statistics(model, None, packed, SamplerSettings(), budget=60)
    assert sums.policy_logprob.tolist() == pytest.approx([values.sum() for values in expected], abs=5e-5)


@pytest.mark.parametrize("architecture", ["mistral", "gemma2", "cohere2", "gpt-neo"])
def test_windows_are_known_before_a_text_is_long_enough_to_show_them(architecture):
    model = tiny_model(architecture, seed=3)
    assert not has_whole_attention(model)
    assert not fits_packing(model)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma2-whole", "mistral", "granite"])
@torch.no_grad()
def test_bfloat16_is_off_by_its_rounding_only(architecture):
    """Judged by what a plain pass in bfloat16 misses float32 by."""
    exact = tiny_model(architecture, seed=3)
    model = tiny_model(architecture, seed=3).to(torch.bfloat16)
    exact.load_state_dict({name: tensor.float() for name, tensor in model.state_dict().items()})
    session = open_session(model)
    assert isinstance(session, SharedPrompts if architecture in SHARED else CopiedPrompts)
    ids, found = decode(model, session)
    rounding = max(
        np.abs(plain_logprobs(model, row[:start], row[start:]) - plain_logprobs(exact, row[:start], row[start:])).max()
        for row, start in zip(ids, (len(PROMPTS[place]) for place in PLACES), strict=True)
    )
    assert worst_miss(exact, ids, found) < 2 * rounding
    replies = lengthened(seed=2)
    share = 4 if fits_packing(model) else 1
    sums = reply_statistics(model, None, PromptReplies(PROMPTS, replies, pad=0, share=share), SamplerSettings())
    for value, (prompt, reply) in zip(sums.policy_logprob.tolist(), replies, strict=True):
        expected = plain_logprobs(exact, PROMPTS[prompt], reply)[range(len(reply)), reply].sum()
        assert value == pytest.approx(expected, abs=2 * rounding * len(reply))


@pytest.mark.parametrize("architecture", ["llama", "gpt-neox"])
@torch.no_grad()
def test_the_model_is_left_as_it_was(architecture):
    model = tiny_model(architecture, seed=3)
    before = plain_logprobs(model, [5, 6], [7, 8])
    session = open_session(model)
    decode(model, session)
    assert model.config._attn_implementation == "eager"
    assert np.array_equal(plain_logprobs(model, [5, 6], [7, 8]), before)


class Doubled(LlamaForCausalLM):
    """Does with its logits what no setting says."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = 2 * output.logits
        return output


def test_a_model_that_changes_its_logits_in_an_unknown_way_is_refused():
    plain = tiny_model("llama", seed=3)
    model = Doubled(plain.config).eval()
    model.load_state_dict(plain.state_dict())
    with pytest.raises(ConfigError, match="Doubled changes its logits in a way that is not known here"):
        output_head(model)


@torch.no_grad()
def test_a_model_without_keys_is_refused():
    model = MambaForCausalLM(MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, state_size=4)).eval()
    with pytest.raises(ConfigError, match="MambaForCausalLM keeps a running state in place of keys"):
        open_session(model).start([[3, 4], [5]], torch.tensor([0, 1]))
