"""Exact choices of a language model: between the options of a menu, and between continuations of a text.

A menu names its options by letters, and the answer is the distribution of the reply's first token over the letters.
Small models choose places, not contents (a model of 135 M parameters gave the first place 0.75 of three), so every
order of the options counts equally, and what is left of the probability beside the letters is said. A continuation is
scored by its own tokens; longer ones are less probable whatever they say, so the scores per token and relative to a
neutral prompt (pointwise mutual information) stand beside the plain one.

Axes: K options, O orders of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch

from overopt.errors import ConfigError, DataError
from overopt.hf.encoding import context_length, encode_prompts, encode_replies, filler
from overopt.hf.hidden import fits_packing, hidden_states
from overopt.hf.packing import SHARE, PromptReplies, n_shared
from overopt.policies.logprobs import output_head, reply_statistics
from overopt.policies.models import HFPolicy
from overopt.policies.sampler import end_tokens
from overopt.protocols import Message, Prompt
from overopt.stats.estimate import FloatArray
from overopt.stats.sampling import SamplerSettings

LETTERS = "ABCDEF"
"""Six options have 720 orders; more are refused."""
PLACES = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class Menu:
    """A choice that is put to a policy."""

    prompt: Prompt
    """What comes before the question: a text, or a conversation that ends with a turn of the user."""
    options: tuple[str, ...]
    """Two to six, different."""
    question: str = "What do you do next?"

    def __post_init__(self) -> None:
        if not 2 <= len(self.options) <= len(LETTERS) or len(set(self.options)) < len(self.options):
            raise DataError(f"a menu has 2 to {len(LETTERS)} different options; got {len(self.options)}")

    def asked(self, order: Sequence[int]) -> Prompt:
        """The prompt with the options in this order, the first of them as A."""
        lines = [f"({letter}) {self.options[place]}" for letter, place in zip(LETTERS, order, strict=False)]
        letters = ", ".join(LETTERS[: len(order) - 1]) + f" or {LETTERS[len(order) - 1]}"
        text = "\n".join([self.question, *lines, f"Answer with one letter: {letters}."])
        if isinstance(self.prompt, str):
            return f"{self.prompt}\n\n{text}\nAnswer: "
        *before, last = self.prompt
        if last["role"] != "user":
            raise DataError("a menu is put at the end of a turn of the user")
        return [*before, Message(role="user", content=f"{last['content']}\n\n{text}")]


@dataclass(frozen=True, slots=True)
class MenuScore:
    """What a policy chooses, mean over all orders."""

    option_K: FloatArray
    """Probability of each option, given that a letter of the menu is said."""
    first_K: FloatArray
    """Share of the orders in which each option is the most probable; a tie counts for the earlier letter."""
    place_K: FloatArray
    """Probability of each place, whatever stands there: 1 / K without a bias of place."""
    letter_mass: float
    """Probability that the reply begins with a letter of the menu; where it is small, the choice says little."""
    n_orders: int

    def log_odds(self, option: int, other: int) -> float:
        """Of one option against another, in nats; infinite where one has no probability."""
        with np.errstate(divide="ignore"):
            logs_K = np.log(self.option_K)
        return float(logs_K[option] - logs_K[other])


@dataclass(frozen=True, slots=True)
class ContinuationScore:
    """How probable a policy holds each of some continuations of one prompt, in nats."""

    logprob_K: FloatArray
    """Of all tokens, the end included."""
    tokens_K: np.ndarray
    """How many those are."""
    neutral_K: FloatArray
    """Of the same tokens behind the neutral prompt; ``nan`` without one."""

    @property
    def plain_K(self) -> FloatArray:
        """Probability of each among them."""
        return _softmax(self.logprob_K)

    @property
    def per_token_K(self) -> FloatArray:
        """The same by the mean over tokens."""
        return _softmax(self.logprob_K / self.tokens_K)

    @property
    def pmi_K(self) -> FloatArray:
        """The same by the gain over the neutral prompt (Holtzman et al. 2021, arXiv:2104.08315)."""
        return _softmax(self.logprob_K - self.neutral_K)


@torch.no_grad()
def menu_scores(policy: HFPolicy, menus: Sequence[Menu], *, places: int = PLACES) -> list[MenuScore]:
    """The choices of a policy at temperature 1, over all orders of the options.

    Parameters
    ----------
    places : int
        Most tokens of one forward pass, padding included; it changes nothing but memory.

    Raises
    ------
    ConfigError
        If the tokenizer has no single token for a letter.
    DataError
        If a menu is longer than the model reads.
    """
    orders = [list(permutations(range(len(menu.options)))) for menu in menus]
    asked = [[menu.asked(order) for order in its] for menu, its in zip(menus, orders, strict=True)]
    most = max((len(menu.options) for menu in menus), default=0)
    letters = [letter_tokens(policy, letter) for letter in LETTERS[:most]]
    logprobs = _first_token(policy, asked, [token for forms in letters for token in forms], places)
    ends = np.cumsum([len(forms) for forms in letters])
    mass = np.stack([part.sum(1) for part in np.split(np.exp(logprobs), ends[:-1], axis=1)], axis=1) if asked else None
    found, row = [], 0
    for menu, its in zip(menus, orders, strict=True):
        assert mass is not None
        size = len(menu.options)
        mass_OK = mass[row : row + len(its), :size]
        row += len(its)
        share_OK = mass_OK / mass_OK.sum(1, keepdims=True)
        option_K, first_K = np.zeros(size), np.zeros(size)
        for share_K, order in zip(share_OK, its, strict=True):
            option_K[list(order)] += share_K / len(its)
            first_K[order[int(share_K.argmax())]] += 1 / len(its)
        found.append(MenuScore(option_K, first_K, share_OK.mean(0), float(mass_OK.sum(1).mean()), len(its)))
    return found


def continuation_scores(
    policy: HFPolicy,
    prompts: Sequence[Prompt],
    options: Sequence[Sequence[str]],
    *,
    neutral: Prompt | None = None,
    places: int = PLACES,
) -> list[ContinuationScore]:
    """How probable each of some continuations of each prompt is, at temperature 1, its end included.

    Parameters
    ----------
    options : sequence of sequences of str
        For each prompt, its continuations.
    neutral : Prompt, optional
        What the mutual information is relative to, such as "Answer:".

    Raises
    ------
    DataError
        If there are not as many groups of options as prompts, or a group is empty.
    """
    if len(prompts) != len(options) or not all(options):
        raise DataError(f"{len(prompts)} prompts need as many groups of continuations, none empty; got {len(options)}")
    ends = end_tokens(policy.model, policy.tokenizer)
    flat = [(place, text) for place, group in enumerate(options) for text in group]
    ids = encode_replies(policy.tokenizer, [prompts[place] for place, _ in flat], [text for _, text in flat], ends=ends)
    logprobs = _replies(policy, prompts, [(place, own) for (place, _), own in zip(flat, ids, strict=True)], places)
    other = np.full(len(flat), math.nan)
    if neutral is not None:
        other = _replies(policy, [neutral], [(0, own) for own in ids], places)
    lengths = np.array([len(own) for own in ids])
    groups = np.array([place for place, _ in flat])
    return [
        ContinuationScore(logprobs[groups == place], lengths[groups == place], other[groups == place])
        for place in range(len(prompts))
    ]


def letter_tokens(policy: HFPolicy, letter: str) -> list[int]:
    """The tokens that say a letter, with a space before it and without.

    Raises
    ------
    ConfigError
        If none of both is one token.
    """
    found = []
    for form in (letter, f" {letter}"):
        ids = policy.tokenizer(form, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) == 1 and ids[0] != policy.tokenizer.unk_token_id:
            found.append(int(ids[0]))
    if not found:
        raise ConfigError(f"the tokenizer of {policy.name} has no token for the letter {letter}; menus need one each")
    return list(dict.fromkeys(found))


def _first_token(
    policy: HFPolicy, groups: Sequence[Sequence[Prompt]], wanted: Sequence[int], places: int
) -> FloatArray:
    """Log-probabilities (B, W) of the wanted tokens as the first of a reply to each prompt, group after group.

    Prompts of a group begin alike (a long task, and the options in another order), and what they share is read once
    for several of them.
    """
    if not groups:
        return np.zeros((0, len(wanted)))
    heads: list[list[int]] = []
    tails: list[tuple[int, list[int]]] = []
    for group, prompts in enumerate(groups):
        ids = encode_prompts(policy.tokenizer, prompts)
        # At least one token is the head, and one is left to each tail.
        shared = max(1, n_shared(ids))
        heads.append(ids[0][:shared])
        tails += [(group, [*own[shared:], wanted[0]]) for own in ids]
    packed = _packed(policy, heads, tails)
    model, head = policy.model, output_head(policy.model)
    lengths_B = torch.from_numpy(packed.lengths_B)
    found = torch.zeros((len(tails), len(wanted)), dtype=torch.float64)
    columns = torch.tensor(wanted, device=model.device)
    for part in packed.parts(places):
        tokens = part.to(model.device)
        rows_K = part.index[part.reply]
        is_last_K = part.offset == lengths_B[rows_K] - 1
        hidden_KD = hidden_states(model, tokens)[is_last_K.to(model.device)]
        logits_BV = head(hidden_KD).float()
        logprob_BW = logits_BV[:, columns] - torch.logsumexp(logits_BV, dim=-1, keepdim=True)
        found[rows_K[is_last_K]] = logprob_BW.double().cpu()
    return found.numpy()


def _replies(
    policy: HFPolicy, prompts: Sequence[Prompt], replies: Sequence[tuple[int, Sequence[int]]], places: int
) -> FloatArray:
    packed = _packed(policy, encode_prompts(policy.tokenizer, prompts), replies)
    found: FloatArray = reply_statistics(
        policy.model, None, packed, SamplerSettings(), budget=places
    ).policy_logprob.numpy()
    return found


def _packed(
    policy: HFPolicy, prompt_ids: Sequence[Sequence[int]], replies: Sequence[tuple[int, Sequence[int]]]
) -> PromptReplies:
    context = context_length(policy.model)
    longest = max((len(prompt_ids[place]) + len(ids) for place, ids in replies), default=0)
    if context is not None and longest > context:
        raise DataError(f"a choice takes {longest} tokens, and {policy.name} reads {context}")
    share = SHARE if fits_packing(policy.model) else 1
    return PromptReplies(prompt_ids, replies, pad=filler(policy.tokenizer), share=share)


def _softmax(score_K: FloatArray) -> FloatArray:
    weight_K = np.exp(score_K - score_K.max())
    return np.asarray(weight_K / weight_K.sum())
