"""Bradley-Terry against hand arithmetic, and reward models that must learn, or unlearn, a word."""

import contextlib
import json
import math
import random
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from oracles.language_models import byte_tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from overopt.errors import ConfigError, DataError, NonFiniteError
from overopt.hf.encoding import encode_scored
from overopt.rewards.checkpoint import RewardModel
from overopt.training import reward_model
from overopt.training.reward_model import (
    RewardTrainingConfig,
    _losses,
    _padded_losses,
    bradley_terry_loss,
    save_reward_model,
    train_reward_model,
)

CONFIG = RewardTrainingConfig(learning_rate=1e-2, epochs=3, batch=16)
SHORT = RewardTrainingConfig(learning_rate=1e-2, epochs=1, batch=16)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A language model with random weights, saved as the shipped ones are."""
    folder = tmp_path_factory.mktemp("bases") / "toy-base"
    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pairs(n_pairs: int, seed: int) -> tuple[list[str], list[str], list[str]]:
    """Replies of four words; the chosen one has "you" in the place of "was"."""
    rng = random.Random(seed)
    prompts, chosen, rejected = [], [], []
    for _ in range(n_pairs):
        words = [rng.choice(["the", "sea", "day", "cold", "fine"]) for _ in range(3)]
        place = rng.randrange(4)
        prompts.append(f"{rng.choice(['Hello', 'What', 'We'])}\n")
        chosen.append(" ".join([*words[:place], "you", *words[place:]]))
        rejected.append(" ".join([*words[:place], "was", *words[place:]]))
    return prompts, chosen, rejected


TRAIN, HELD_OUT = pairs(400, 0), pairs(200, 1)


def accuracy(model: RewardModel) -> float:
    prompts, chosen, rejected = HELD_OUT
    return float(np.mean(model.score(prompts, chosen) > model.score(prompts, rejected)))


@pytest.fixture(scope="module")
def trained(base):
    return train_reward_model(base, *TRAIN, config=CONFIG, seed=0)


def weights(model: RewardModel) -> list[torch.Tensor]:
    return list(model.model.state_dict().values())


@pytest.mark.parametrize("targets", [None, torch.linspace(0, 1, 13)], ids=["hard", "soft"])
def test_packed_pairs_give_the_loss_and_gradient_of_the_padded_batch(base, monkeypatch, targets):
    """In float32; pairs of unlike lengths, one whose sides differ in their last word only, in several passes."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(reward_model, "PLACES", 60)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, attn_implementation="eager")
    tokenizer = byte_tokenizer()
    prompts, chosen, rejected = pairs(12, 3)
    sides = [
        encode_scored(tokenizer, [*prompts, "Hi\n"], [*texts, end])
        for texts, end in ((chosen, "a long way to go"), (rejected, "a long way to do"))
    ]
    rows = np.array([12, 3, 0, 7, 5])
    found = []
    for losses in (_losses(model, *sides, targets, 0), partial(_padded_losses, model, *sides, targets, 0)):
        model.zero_grad()
        parts = list(losses(rows))
        sum(parts).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found.append((len(parts), sum(parts).item(), gradient))
    assert found[0][0] > 1 == found[1][0]
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-5)
    assert (found[0][2] - found[1][2]).abs().max() < 1e-5 * found[1][2].abs().max()


def test_loss_and_gradient_by_hand():
    chosen, rejected = [2.0, -1.0, 0.5, 30.0, -400.0], [1.0, 1.5, 0.5, -30.0, 400.0]
    gaps = [a - b for a, b in zip(chosen, rejected, strict=True)]
    losses = [math.log1p(math.exp(-gap)) if gap > -700 else -gap for gap in gaps]
    a, b = (torch.tensor(side, dtype=torch.float64, requires_grad=True) for side in (chosen, rejected))
    loss = bradley_terry_loss(a, b)
    assert float(loss.detach()) == pytest.approx(math.fsum(losses) / 5, rel=1e-12)
    loss.backward()
    slopes = [-1 / (1 + math.exp(min(gap, 700))) / 5 for gap in gaps]
    assert a.grad.tolist() == pytest.approx(slopes, rel=1e-9, abs=1e-30)
    assert b.grad.tolist() == pytest.approx([-slope for slope in slopes], rel=1e-9, abs=1e-30)


def test_equal_rewards_cost_ln_2_and_shifts_cost_nothing():
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])
    assert float(bradley_terry_loss(a, a)) == pytest.approx(math.log(2))
    assert float(bradley_terry_loss(a + 5, b + 5)) == pytest.approx(float(bradley_terry_loss(a, b)))


@pytest.mark.parametrize("is_packed", [True, False])
def test_a_base_without_a_padding_token_is_trained_like_any_other(base, tmp_path, monkeypatch, is_packed):
    folder = tmp_path / "no-padding"
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": None}), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).pad_token_id is None
    if not is_packed:
        monkeypatch.setattr(reward_model, "fits_packing", lambda model: False)
    model = train_reward_model(folder, *TRAIN, config=CONFIG, seed=0)
    assert accuracy(model) > 0.9


def test_soft_targets_are_a_cross_entropy():
    a, b = torch.tensor([2.0, -1.0], dtype=torch.float64), torch.tensor([1.0, 1.5], dtype=torch.float64)
    gaps, targets = (1.0, -2.5), (0.8, 0.3)
    by_hand = [
        -(t * math.log(1 / (1 + math.exp(-g))) + (1 - t) * math.log(1 / (1 + math.exp(g))))
        for g, t in zip(gaps, targets, strict=True)
    ]
    assert float(bradley_terry_loss(a, b, torch.tensor(targets))) == pytest.approx(sum(by_hand) / 2, rel=1e-7)
    assert float(bradley_terry_loss(a, b, torch.ones(2))) == float(bradley_terry_loss(a, b))


def test_pairs_without_a_preference_teach_nothing(base):
    model = train_reward_model(base, *TRAIN, config=SHORT, seed=0, targets=[0.5] * len(TRAIN[0]))
    prompts, chosen, rejected = HELD_OUT
    assert abs(model.score(prompts, chosen) - model.score(prompts, rejected)).max() < 0.1


@pytest.mark.parametrize("targets", [[0.5], [1.5] * 400, [float("nan")] * 400])
def test_targets_that_are_no_probabilities_are_refused(base, targets):
    with pytest.raises(DataError, match="as many targets, each within 0 and 1"):
        train_reward_model(base, *TRAIN, config=SHORT, seed=0, targets=targets)


def test_a_reward_model_learns_what_is_preferred(trained):
    assert accuracy(trained) > 0.9


def test_flipped_labels_teach_the_opposite(base):
    prompts, chosen, rejected = TRAIN
    assert accuracy(train_reward_model(base, prompts, rejected, chosen, config=CONFIG, seed=0)) < 0.1


def test_untrained_heads_prefer_nothing(base):
    """At a learning rate that moves nothing: what is learnt is learnt from the pairs, not from the base."""
    still = RewardTrainingConfig(learning_rate=1e-12, epochs=1, batch=400)
    model = train_reward_model(base, *TRAIN, config=still, seed=0)
    assert abs(model.score(HELD_OUT[0], HELD_OUT[1])).max() < 1e-6


def test_one_seed_gives_one_model_and_members_differ(base):
    first = train_reward_model(base, *TRAIN, config=SHORT, seed=0)
    torch.rand(13)
    again = train_reward_model(base, *TRAIN, config=SHORT, seed=0)
    other = train_reward_model(base, *TRAIN, config=SHORT, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(again), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights(first), weights(other), strict=True))
    scores, others = (model.score(HELD_OUT[0], HELD_OUT[1]) for model in (first, other))
    assert abs(scores - others).mean() > 0.01 * scores.std()
    assert min(map(accuracy, (first, other))) > 0.6


def test_a_saved_model_reloads_whole_with_the_same_scores(trained, tmp_path):
    save_reward_model(trained, tmp_path)
    model, found = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert not found["mismatched_keys"]
    assert all(torch.equal(a, b) for a, b in zip(weights(trained), model.state_dict().values(), strict=True))
    loaded = RewardModel.load(tmp_path)
    for side in HELD_OUT[1:]:
        before = trained.score(HELD_OUT[0], side)
        assert loaded.score(HELD_OUT[0], side).tolist() == pytest.approx(before.tolist(), abs=1e-6)
    assert accuracy(loaded) == accuracy(trained)


def test_weights_are_saved_as_safetensors_only(trained, tmp_path):
    """Pickles run code when they are loaded."""
    save_reward_model(trained, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.stat().st_size > 10_000 and path.suffix != ".json"] == [
        "model.safetensors"
    ]
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".jinja", ".safetensors"}


def test_a_trained_model_is_in_evaluation_mode(trained):
    assert not any(module.training for module in trained.model.modules())


def test_no_pairs_are_refused(base):
    with pytest.raises(DataError, match="0 pairs"):
        train_reward_model(base, [], [], [], config=CONFIG, seed=0)


def test_a_pair_of_equal_texts_is_refused(base):
    with pytest.raises(DataError, match="same text on both sides"):
        train_reward_model(base, ["a", "b"], ["x", "y"], ["z", "y"], config=CONFIG, seed=0)


def test_sides_of_different_numbers_are_refused(base):
    with pytest.raises(ValueError, match="argument 2"):
        train_reward_model(base, ["a"], ["x", "y"], ["z"], config=CONFIG, seed=0)


@pytest.mark.parametrize(
    "changes", [{"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"epochs": 0}, {"batch": 0}]
)
def test_settings_that_train_nothing_are_refused(changes):
    with pytest.raises(ConfigError, match="reward_training"):
        RewardTrainingConfig(**changes)


@pytest.mark.parametrize("damage", ["loss", "gradient"])
def test_nothing_is_stepped_with_numbers_that_are_not_finite(base, monkeypatch, damage):
    """A gradient may overflow though its loss is finite: the square root's slope at 0 does."""
    stepped = []
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *args: stepped.append(self))

    def broken(chosen_B, rejected_B, target_B):
        gap_B = chosen_B - rejected_B
        return gap_B.mean() * torch.nan if damage == "loss" else (gap_B - gap_B.detach()).abs().sqrt().sum()

    monkeypatch.setattr("overopt.training.reward_model.bradley_terry_loss", broken)
    with pytest.raises(
        NonFiniteError, match=r"reward-model step 0 is not finite; lower reward_training\.learning_rate"
    ):
        train_reward_model(base, *TRAIN, config=SHORT, seed=0)
    assert not stepped
