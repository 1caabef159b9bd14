"""Choices against one plain forward pass a permutation or continuation, summed by hand."""

import itertools
import math

import numpy as np
import pytest
from oracles.language_models import next_logprobs, plain_logprobs
from oracles.word_world import word_policy, word_tokenizer

from overopt.errors import ConfigError, DataError
from overopt.policies.menus import LETTERS, Menu, continuation_scores, letter_tokens, menu_scores

PROMPTS = ([{"role": "user", "content": "go well"}], [{"role": "user", "content": "hm"}])
MENUS = [
    Menu(prompt=PROMPTS[0], options=("honest", "game", "hm ?"), question="well"),
    Menu(prompt=PROMPTS[1], options=("game", "honest"), question="well"),
]


@pytest.fixture(scope="module")
def policy():
    return word_policy(seed=3, context=200)


def ids_of(text):
    return word_tokenizer()(text, add_special_tokens=False)["input_ids"]


def asked_by_hand(menu, order):
    """Token ids of the question, written out here and not by the code under test."""
    lines = [f"({LETTERS[n]}) {menu.options[place]}" for n, place in enumerate(order)]
    names = {2: "A or B", 3: "A, B or C"}[len(order)]
    text = (
        f"{menu.prompt[0]['content']}\n\n{menu.question}\n" + "\n".join(lines) + f"\nAnswer with one letter: {names}."
    )
    return ids_of(f"user {text} <|eos|> assistant")


@pytest.mark.parametrize("menu", MENUS, ids=["three", "two"])
def test_a_menu_is_the_mean_over_every_order_of_its_options(policy, menu):
    size = len(menu.options)
    orders = list(itertools.permutations(range(size)))
    options, firsts, places, mass = [0.0] * size, [0.0] * size, [0.0] * size, 0.0
    for order in orders:
        logprobs = next_logprobs(policy.model, asked_by_hand(menu, order))
        letters = [math.exp(logprobs[ids_of(LETTERS[place])[0]]) for place in range(size)]
        mass += sum(letters) / len(orders)
        firsts[order[letters.index(max(letters))]] += 1 / len(orders)
        for place, option in enumerate(order):
            options[option] += letters[place] / sum(letters) / len(orders)
            places[place] += letters[place] / sum(letters) / len(orders)
    (found,) = menu_scores(policy, [menu])
    assert found.option_K == pytest.approx(options, abs=1e-5)
    assert found.first_K == pytest.approx(firsts)
    assert found.place_K == pytest.approx(places, abs=1e-5)
    assert found.letter_mass == pytest.approx(mass, abs=1e-6)
    assert found.n_orders == len(orders)
    assert found.log_odds(1, 0) == pytest.approx(math.log(options[1] / options[0]), abs=1e-4)


def test_the_order_in_which_options_are_given_changes_nothing(policy):
    (found,) = menu_scores(policy, MENUS[:1])
    turned = Menu(prompt=MENUS[0].prompt, options=MENUS[0].options[::-1], question=MENUS[0].question)
    (other,) = menu_scores(policy, [turned])
    assert found.option_K == pytest.approx(other.option_K[::-1], abs=1e-6)
    assert found.place_K == pytest.approx(other.place_K, abs=1e-6)


def test_menus_side_by_side_are_scored_as_alone(policy):
    together = menu_scores(policy, MENUS, places=64)
    for menu, found in zip(MENUS, together, strict=True):
        (alone,) = menu_scores(policy, [menu])
        assert found.option_K == pytest.approx(alone.option_K, abs=1e-6)


def test_continuations_are_summed_token_by_token(policy):
    options = [["game", "honest well hm"], ["well"]]
    neutral = [{"role": "user", "content": "?"}]
    for place, found in enumerate(continuation_scores(policy, PROMPTS, options, neutral=neutral)):
        for number, text in enumerate(options[place]):
            reply = [*ids_of(text), word_tokenizer().eos_token_id]
            for prompt, value in ((PROMPTS[place], found.logprob_K), (neutral, found.neutral_K)):
                ids = ids_of(f"user {prompt[0]['content']} <|eos|> assistant")
                own = plain_logprobs(policy.model, ids, reply)[range(len(reply)), reply].sum()
                assert value[number] == pytest.approx(own, abs=1e-4)
            assert found.tokens_K[number] == len(reply)
    first = continuation_scores(policy, PROMPTS[:1], options[:1], neutral=neutral)[0]
    weights = np.exp(first.logprob_K / first.tokens_K)
    assert first.per_token_K == pytest.approx(weights / weights.sum())
    gain = np.exp(first.logprob_K - first.neutral_K)
    assert first.pmi_K == pytest.approx(gain / gain.sum())
    assert first.plain_K.sum() == pytest.approx(1)


def test_without_a_neutral_prompt_there_is_no_mutual_information(policy):
    (found,) = continuation_scores(policy, PROMPTS[:1], [["game", "honest"]])
    assert np.isnan(found.pmi_K).all()


def test_what_is_no_menu_is_refused(policy):
    for options in (("one",), ("one", "one"), tuple("abcdefg")):
        with pytest.raises(DataError, match="different options"):
            Menu(prompt="x", options=options)
    with pytest.raises(ConfigError, match="no token for the letter Z"):
        letter_tokens(policy, "Z")
    with pytest.raises(DataError, match="turn of the user"):
        menu_scores(policy, [Menu(prompt=[{"role": "assistant", "content": "go"}], options=("game", "honest"))])
    with pytest.raises(DataError, match="groups of continuations"):
        continuation_scores(policy, PROMPTS, [["game"]])
    long = Menu(prompt=[{"role": "user", "content": "go " * 300}], options=("game", "honest"))
    with pytest.raises(DataError, match="words reads 200"):
        menu_scores(policy, [long])
