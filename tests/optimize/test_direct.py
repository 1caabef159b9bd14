"""Direct alignment against formulas in double precision and the optima of worlds whose completions can be listed."""

import copy
import itertools
import json
import math

import numpy as np
import polars as pl
import pytest
import torch
from oracles.language_models import byte_tokenizer, letter_tokenizer, plain_logprobs

from optimize.letter_world import LetterScorer, exact_kl, has_c, is_same, letter_policy, weights
from overopt.errors import ConfigError, DataError, NonFiniteError
from overopt.hf.encoding import encode_replies
from overopt.optimize import direct, preference_pairs
from overopt.optimize.direct import DirectConfig, align_policy
from overopt.optimize.measurement import Measurement
from overopt.optimize.pair_losses import PairLogprobs, dpo_loss, ipo_loss, pair_loss, slic_loss
from overopt.optimize.preference_pairs import Pairs
from overopt.protocols import SamplerConfig
from overopt.seeding import numbers_of

EOS = 2
SAMPLER = SamplerConfig(max_tokens=2)
PROMPTS = ["a", "b a"]
OUTCOMES = {"": 0, "a": 1, "b": 2, "a b": 1}
"""Completions and their rewards in units of ln 3, so that twenty pairs hold Bradley-Terry's frequencies exactly."""
TWENTIETHS = {0: 10, 1: 15, 2: 18}


def bradley_terry_pairs() -> list[tuple[str, str, str]]:
    """Each two completions to each prompt twenty times, labelled as often either way as their rewards say."""
    pairs = []
    for prompt, (one, other) in itertools.product(PROMPTS, itertools.combinations(OUTCOMES, 2)):
        better, worse = (one, other) if OUTCOMES[one] >= OUTCOMES[other] else (other, one)
        n_right = TWENTIETHS[OUTCOMES[better] - OUTCOMES[worse]]
        pairs += [(prompt, better, worse)] * n_right + [(prompt, worse, better)] * (20 - n_right)
    return pairs


def align(
    reference, pairs, *, measure=lambda step, policy: None, seed=0, checkpoints=None, sampler=SAMPLER, **settings
):
    usual = {
        "steps": 1, "pairs_per_step": len(pairs), "precision": "fp32", "warm_up": 1, "learning_rate": 1e-2,
        "measure_every": 1_000,
    }  # fmt: skip
    prompts, chosen, rejected = zip(*pairs, strict=True)
    return align_policy(
        reference, prompts, chosen, rejected, config=DirectConfig(**usual | settings), sampler=sampler, seed=seed,
        measure=measure, checkpoints=checkpoints,
    )  # fmt: skip


def reply_logprobs(policy, prompt: str, completion: str, temperature: float = 1.0) -> list[float]:
    """Of each token of a completion with its end, by a pass over the text alone."""
    prompt_ids = policy.tokenizer(prompt)["input_ids"]
    reply = [*policy.tokenizer(completion, add_special_tokens=False)["input_ids"], EOS]
    rows = plain_logprobs(policy.model, prompt_ids, reply) / temperature
    rows = rows - np.log(np.exp(rows).sum(1, keepdims=True))
    return rows[np.arange(len(reply)), reply].tolist()


def log_ratio(policy, reference, prompt: str, completion: str, *, per_token: bool = False) -> float:
    own, other = (reply_logprobs(model, prompt, completion) for model in (policy, reference))
    return (math.fsum(own) - math.fsum(other)) / (len(own) if per_token else 1)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


NUMBERS = [(-3.0, -4.0, -2.5, -6.0), (-9.0, -2.0, -5.0, -2.0), (-1.0, -1.0, -1.0, -1.0), (-4.0, -11.0, -5.0, -5.0)]


@pytest.mark.parametrize("beta", [0.1, 0.7])
@pytest.mark.parametrize(
    ("loss", "settings", "value", "slope"),
    [
        ("dpo", {}, lambda h, d, b: -log_sigmoid(b * h), lambda h, d, b: -b / (1 + math.exp(b * h))),
        (
            "dpo",
            {"label_smoothing": 0.2},
            lambda h, d, b: -0.8 * log_sigmoid(b * h) - 0.2 * log_sigmoid(-b * h),
            lambda h, d, b: -0.8 * b / (1 + math.exp(b * h)) + 0.2 * b / (1 + math.exp(-b * h)),
        ),
        ("ipo", {}, lambda h, d, b: (h - 0.5 / b) ** 2, lambda h, d, b: 2 * (h - 0.5 / b)),
        ("slic", {}, lambda h, d, b: max(0.0, 1 - b * h), lambda h, d, b: -b * (b * h < 1)),
        ("slic-hf", {}, lambda h, d, b: b * max(0.0, 1 / b - d), lambda h, d, b: -b * (b * d < 1)),
    ],
    ids=["dpo", "cdpo", "ipo", "slic", "slic-hf"],
)
def test_losses_and_their_slopes_are_those_of_the_formulas(loss, settings, value, slope, beta):
    """What is chosen is pushed up and what is rejected down, by the same amount."""
    columns = [torch.tensor(column, dtype=torch.float64, requires_grad=True) for column in zip(*NUMBERS, strict=True)]
    found_B = pair_loss(PairLogprobs(*columns), loss, beta, **settings)
    found_B.sum().backward()
    for place, (c, r, ref_c, ref_r) in enumerate(NUMBERS):
        h, d = (c - r) - (ref_c - ref_r), c - r
        assert float(found_B[place].detach()) == pytest.approx(value(h, d, beta), abs=1e-12)
        assert float(columns[0].grad[place]) == pytest.approx(slope(h, d, beta), abs=1e-12)
        assert float(columns[1].grad[place]) == pytest.approx(-slope(h, d, beta), abs=1e-12)


def test_dpo_stays_finite_far_out_and_starts_at_ln_2():
    far = dpo_loss(torch.tensor([-1e5, 0.0, 1e5], dtype=torch.float64), 0.1, label_smoothing=0.1)
    assert far.tolist() == pytest.approx([9e3, math.log(2), 1e3])
    assert float(ipo_loss(torch.zeros(1, dtype=torch.float64), 0.1)) == 25.0
    assert float(slic_loss(torch.zeros(1, dtype=torch.float64), 0.1)) == 1.0


def test_mixed_labels_are_least_where_the_sigmoid_is_the_share_of_right_ones():
    difference = torch.linspace(-40, 40, 8_001, dtype=torch.float64)
    least = difference[dpo_loss(difference, 0.25, label_smoothing=0.1).argmin()]
    assert 1 / (1 + math.exp(-0.25 * float(least))) == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(
    ("settings", "by_hand"),
    [
        ({"dpo_beta": 0.5}, lambda own, other, n: -torch.nn.functional.logsigmoid(0.5 * (own - other))),
        (
            {"loss": "ipo", "per_token": True, "dpo_beta": 0.5},
            lambda own, other, n: (own - other - 1.0) ** 2,
        ),
        (
            {"loss": "slic-hf", "dpo_beta": 0.05, "nll_coef": 0.3},
            lambda own, other, n: (1 - 0.05 * own).clamp(min=0) + 0.3 * n,
        ),
    ],
    ids=["dpo", "ipo", "slic-hf"],
)
def test_first_loss_and_gradient_are_those_of_plain_passes(settings, by_hand, temperature):
    """Each text alone through the model, with the token that ends it."""
    reference = letter_policy(3)
    pairs = [("a", "b", "a c"), ("b a", "", "c"), ("c", "a a b", "b")]
    sampler = SamplerConfig(max_tokens=4, temperature=temperature)
    found = align(reference, pairs, sampler=sampler, max_gradient=1e9, learning_rate=1e-12, **settings)

    model, tokenizer = reference.model, reference.tokenizer
    total = torch.zeros((), dtype=torch.float64)
    for prompt, *completions in pairs:
        sides = []
        for completion in completions:
            ids = tokenizer(prompt)["input_ids"]
            reply = [*tokenizer(completion, add_special_tokens=False)["input_ids"], EOS]
            logits = model(input_ids=torch.tensor([[*ids, *reply]])).logits[0, len(ids) - 1 : -1].double()
            sum_ = torch.log_softmax(logits / temperature, -1)[torch.arange(len(reply)), reply].sum()
            sides.append((sum_, len(reply)))
        means = [value / (length if settings.get("per_token") else 1) for value, length in sides]
        own = means[0] - means[1]
        total = total + by_hand(own, own.detach(), -sides[0][0]) / len(pairs)
    total.backward()
    norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in model.parameters()))
    assert found.logs[0].loss == pytest.approx(float(total.detach()), rel=1e-5)
    assert found.logs[0].gradient_norm == pytest.approx(norm, rel=1e-4)


def settled_ratios(reference, pairs, completions, *, steps=160, rate=3e-3, per_token=False, **settings):
    """ln policy / reference of completions to each prompt, mean over late steps: AdamW circles around an optimum."""
    prompts = list(dict.fromkeys(prompt for prompt, _, _ in pairs))
    found = []

    def measure(step, policy):
        if 2 * step > steps:
            found.append(
                [[log_ratio(policy, reference, p, c, per_token=per_token) for c in completions] for p in prompts]
            )

    if per_token:
        settings["per_token"] = True
    run = align(reference, pairs, steps=steps, learning_rate=rate, measure=measure, measure_every=5, **settings)
    return np.mean(found, axis=0), run


def test_dpo_on_bradley_terry_labels_ends_at_the_tilted_reference():
    """Then policy ~ reference x exp(reward / dpo_beta), and the loss is the entropy of the labels: none is lower."""
    reference, beta = letter_policy(2), 0.5
    found, run = settled_ratios(reference, bradley_terry_pairs(), OUTCOMES, dpo_beta=beta)
    tilt = np.array(list(OUTCOMES.values())) * math.log(3) / beta
    assert found - found[:, :1] == pytest.approx(np.tile(tilt, (len(PROMPTS), 1)), abs=0.04)
    for prompt, ratios in zip(PROMPTS, found, strict=True):
        base = np.array([math.exp(math.fsum(reply_logprobs(reference, prompt, text))) for text in OUTCOMES])
        policy, target = base * np.exp(ratios), base * np.exp(tilt)
        assert policy / policy.sum() == pytest.approx(target / target.sum(), abs=0.005)
    shares = [TWENTIETHS[abs(OUTCOMES[a] - OUTCOMES[b])] / 20 for a, b in itertools.combinations(OUTCOMES, 2)]
    entropy = np.mean([-p * math.log(p) - (1 - p) * math.log(1 - p) for p in shares])
    assert entropy - 1e-6 < run.logs[-1].loss < entropy + 3e-4


def test_ipo_ends_where_ratios_follow_win_rates():
    """Azar et al. 2023, section 4: log-ratios are win rates against the completions of the pairs, over tau."""
    reference, beta = letter_policy(2), 0.25
    found, _ = settled_ratios(reference, bradley_terry_pairs(), OUTCOMES, loss="ipo", dpo_beta=beta)
    levels = list(OUTCOMES.values())
    win_rates = np.array([np.mean([3.0**level / (3.0**level + 3.0**other) for other in levels]) for level in levels])
    target = (win_rates - win_rates[0]) / beta
    assert found - found[:, :1] == pytest.approx(np.tile(target, (len(PROMPTS), 1)), abs=0.04)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"loss": "ipo", "dpo_beta": 0.2}, 2.5),
        ({"loss": "ipo", "dpo_beta": 0.2, "per_token": True}, 2.5),
        ({"loss": "dpo", "dpo_beta": 0.5, "label_smoothing": 0.1}, math.log(9) / 0.5),
    ],
    ids=["ipo", "ipo-per-token", "cdpo"],
)
def test_one_sure_pair_goes_as_far_as_its_loss_says(settings, expected):
    """Per token the difference of means gets there; a completion of three tokens then has moved three times as far."""
    ((chosen, rejected),), _ = settled_ratios(letter_policy(2), [("a", "b a", "b")], ("b a", "b"), **settings)
    assert chosen - rejected == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("loss", ["slic", "slic-hf"])
def test_hinge_lets_go_at_its_margin(loss):
    reference, pairs = letter_policy(2), [("a", "b a", "b"), ("b", "a", "")]
    found = align(reference, pairs, steps=60, loss=loss, dpo_beta=0.5)
    for prompt, chosen, rejected in pairs:
        sides = [math.fsum(reply_logprobs(found.policy, prompt, text)) for text in (chosen, rejected)]
        if loss == "slic":
            sides = [
                side - math.fsum(reply_logprobs(reference, prompt, text))
                for side, text in zip(sides, (chosen, rejected), strict=True)
            ]
        assert sides[0] - sides[1] > 2.0
    assert found.logs[0].gradient_norm > 0.1
    assert (found.logs[-1].loss, found.logs[-1].gradient_norm) == (0.0, 0.0)


def test_likelihood_term_holds_the_chosen_completion():
    """Without it both sides get rarer here, as they may; with it the chosen one gets likelier."""
    reference, pairs = letter_policy(2), [("a", "b a", "b"), ("b", "a", "a a")]
    plain, held = (align(reference, pairs, steps=30, nll_coef=coef).policy for coef in (0.0, 1.0))
    for prompt, chosen, _ in pairs:
        assert log_ratio(held, reference, prompt, chosen) > max(0.5, log_ratio(plain, reference, prompt, chosen))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, math.log(2)), ({"label_smoothing": 0.3}, math.log(2)), ({"loss": "ipo"}, 25.0), ({"loss": "slic"}, 1.0)],
    ids=["dpo", "cdpo", "ipo", "slic"],
)
def test_starts_where_policy_and_reference_agree_and_leaves_the_reference_alone(settings, expected):
    reference = letter_policy(2)
    before = weights(reference)
    found = align(reference, bradley_terry_pairs(), steps=2, places=64, pairs_per_step=40, **settings)
    first = found.logs[0]
    assert first.loss == pytest.approx(expected, rel=1e-6)
    assert (first.margin, first.chosen, first.rejected) == pytest.approx((0, 0, 0), abs=1e-6)
    assert is_same(before, weights(reference))
    assert not is_same(before, weights(found.policy))


def test_equal_implicit_rewards_are_half_right():
    """With everything in one pass policy and reference agree to the last bit, and the loss is that of no preference."""
    log = align(letter_policy(2), [("a", "b", "a b"), ("b", "b a", "")]).logs[0]
    assert (log.accuracy, log.margin, log.loss) == (0.5, 0.0, math.log(2))


def test_bf16_starts_near_ln_2():
    found = align(letter_policy(2), bradley_terry_pairs(), precision="bf16", dpo_beta=0.5)
    assert found.logs[0].loss == pytest.approx(math.log(2), abs=1e-3)


def test_log_says_how_labels_and_implicit_rewards_agree():
    """Before each step, against log-probabilities of the policy that was there then."""
    reference, pairs, seen = letter_policy(2), [("a", "b", "a"), ("b a", "a", "b"), ("a", "", "b a")], {}

    def measure(step, policy):
        chosen = [log_ratio(policy, reference, prompt, text) for prompt, text, _ in pairs]
        rejected = [log_ratio(policy, reference, prompt, text) for prompt, _, text in pairs]
        seen[step] = np.array(chosen), np.array(rejected)

    found = align(reference, pairs, steps=4, learning_rate=3e-3, measure=measure, measure_every=1, dpo_beta=0.3)
    for step in (1, 2, 3):
        chosen, rejected = seen[step]
        log = found.logs[step]
        assert (log.chosen, log.rejected) == pytest.approx((chosen.mean(), rejected.mean()), abs=1e-4)
        assert log.margin == pytest.approx(0.3 * (chosen - rejected).mean(), abs=1e-4)
        assert log.accuracy == pytest.approx((chosen > rejected).mean())


@pytest.mark.parametrize("change", ["alone", "narrow"])
def test_packing_changes_nothing(monkeypatch, change):
    """Neither one completion a row instead of both sides of a pair, nor parts that hold one pair."""
    reference, pairs = letter_policy(3), [("a b c", "b", "a c"), ("a", "", "c a b"), ("c b", "a a", "b")]
    settings = {"steps": 3, "loss": "ipo", "learning_rate": 1e-3}
    plain = align(reference, pairs, **settings)
    if change == "alone":
        monkeypatch.setattr(preference_pairs, "fits_packing", lambda model: False)
    other = align(reference, pairs, places=1 if change == "narrow" else 4_096, **settings)
    for one, two in zip(plain.logs, other.logs, strict=True):
        assert (one.loss, one.gradient_norm, one.margin) == pytest.approx(
            (two.loss, two.gradient_norm, two.margin), rel=1e-4, abs=1e-6
        )


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("places", [1, 17, 40, 10_000])
def test_parts_hold_both_sides_of_their_pairs_and_no_more_than_they_may(monkeypatch, is_shared, places):
    monkeypatch.setattr(preference_pairs, "fits_packing", lambda model: is_shared)
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["a", "b", "c"], size)) for size in range(9)]
    chosen, rejected = texts[1:] + texts[:1], texts
    pairs = Pairs.encode(letter_policy(3), ["a b", "c", "b"] * 3, chosen, rejected, SAMPLER)
    seen = []
    for part in pairs.parts(places, [7, 0, 3, 4, 8]):
        members = sorted(part.index.tolist())
        seen += members
        assert members[::2] == [member - 1 for member in members[1::2]]
        assert part.ids.numel() <= places or len(members) == 2
        assert len(part.ids) == len(members) / (2 if is_shared else 1)
    assert sorted(seen) == [0, 1, 6, 7, 8, 9, 14, 15, 16, 17]


CHAT = (
    "{% for m in messages %}{% if m['role'] == 'user' %}a {{ m['content'] }} </s> {% else %}b {{ m['content'] }}"
    "{{ end }}{% endif %}{% endfor %}{% if add_generation_prompt %}b {% endif %}"
)


@pytest.mark.parametrize(("end", "ending"), [(" c </s> a", "c </s>"), ("", "</s>"), (" c", "</s>")])
def test_conversations_end_as_their_template_ends_a_turn(end, ending):
    """Up to the first token that stops sampling; by the tokenizer's end token where the template writes none."""
    reference = letter_policy(3)
    tokenizer = copy.deepcopy(letter_tokenizer(3))
    eos = tokenizer.eos_token
    tokenizer.chat_template = CHAT.replace("{{ end }}", end.replace("</s>", eos)).replace("</s>", eos)
    reference.tokenizer = tokenizer
    pairs = Pairs.encode(reference, [[{"role": "user", "content": "c c"}]], ["a b"], ["b"], SAMPLER)
    ids = tokenizer.convert_tokens_to_ids
    assert pairs.packed.prompts[0] == [ids(token) for token in ("a", "c", "c", eos, "b")]
    tail = [ids(token) for token in ending.replace("</s>", eos).split()]
    assert pairs.packed.replies[0] == [ids("a"), ids("b"), *tail]


def test_completion_that_spells_the_end_token_does_not_end_there():
    tokenizer = byte_tokenizer()
    text = f"so{tokenizer.eos_token}on"
    (ids,) = encode_replies(tokenizer, ["Hello"], [text], ends=[tokenizer.eos_token_id])
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[:-1]) == text


def test_what_a_template_writes_after_a_turn_is_read_as_special_tokens():
    """Here the one that begins texts also ends turns, and sampling stops there."""
    tokenizer = copy.deepcopy(byte_tokenizer())
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}!" + tokenizer.bos_token + "{% endfor %}"
    )
    prompt = [{"role": "user", "content": "Hello"}]
    ends = [tokenizer.eos_token_id, tokenizer.bos_token_id]
    (ids,) = encode_replies(tokenizer, [prompt], ["so on"], ends=ends)
    parts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("so on", "!")]
    assert ids == [*parts[0], *parts[1], tokenizer.bos_token_id]


class Halt(Exception):
    pass


def test_stopped_run_goes_on_as_if_it_had_not(tmp_path):
    """Bit for bit: weights, moments, the order of pairs and the log, also when the measurement was what failed."""
    reference, pairs = letter_policy(2), bradley_terry_pairs()[:50]
    settings = {"steps": 7, "pairs_per_step": 16, "measure_every": 2, "checkpoint_every": 3}
    straight, measured = align(reference, pairs, **settings), []

    def fail(step, policy):
        if step == 4:
            raise Halt

    with pytest.raises(Halt):
        align(reference, pairs, measure=fail, checkpoints=tmp_path, **settings)
    resumed = align(
        reference, pairs, measure=lambda step, policy: measured.append(step), checkpoints=tmp_path, **settings
    )
    assert measured == [4, 6, 7]
    assert is_same(weights(straight.policy), weights(resumed.policy))
    assert repr(straight.logs) == repr(resumed.logs)
    again = align(reference, pairs, checkpoints=tmp_path, **settings)
    assert is_same(weights(straight.policy), weights(again.policy))
    longer = align(reference, pairs, checkpoints=tmp_path, **settings | {"steps": 9})
    assert is_same(weights(longer.policy), weights(align(reference, pairs, **settings | {"steps": 9}).policy))
    with pytest.raises(ConfigError, match="steps is 3, but its checkpoint is of step 9"):
        align(reference, pairs, checkpoints=tmp_path, **settings | {"steps": 3})
    with pytest.raises(ConfigError, match=r"direct\.dpo_beta"):
        align(reference, pairs, checkpoints=tmp_path, dpo_beta=0.2, **settings)
    with pytest.raises(ConfigError, match="pairs"):
        align(reference, pairs[::-1], checkpoints=tmp_path, **settings)


def test_one_seed_gives_one_policy():
    reference, pairs = letter_policy(2), bradley_terry_pairs()
    first, again, other = (
        weights(align(reference, pairs, steps=3, pairs_per_step=8, seed=seed).policy) for seed in (0, 0, 1)
    )
    assert is_same(first, again)
    assert not is_same(first, other)


def test_every_pair_comes_once_before_any_comes_again():
    drawn = [number for step in range(1, 8) for number in numbers_of(step, 10, 4, 3, "pairs")]
    assert sorted(drawn[:10]) == sorted(drawn[10:20]) == list(range(10))
    assert drawn[:10] != drawn[10:20]


@pytest.mark.parametrize("damage", [math.nan, math.inf])
def test_nothing_is_stepped_with_numbers_that_are_not_finite(monkeypatch, tmp_path, damage):
    reference, pairs = letter_policy(2), [("a", "b", "a"), ("b a", "a", "b"), ("a", "", "b a")]
    good = align(reference, pairs, steps=2, pairs_per_step=2)
    calls, plain = [], pair_loss

    def damaged(*args, **kwargs):
        calls.append(1)
        return plain(*args, **kwargs) * (damage if len(calls) == 3 else 1.0)

    monkeypatch.setattr(direct, "pair_loss", damaged)
    with pytest.raises(NonFiniteError, match=r"of step 3 of direct alignment is not finite; .* the pairs are in"):
        align(reference, pairs, steps=5, pairs_per_step=2, checkpoints=tmp_path)
    saved = pl.read_parquet(tmp_path / "not-finite-step-000003.parquet")
    assert saved["completion"].to_list() == [text for number in saved_pairs(saved, pairs) for text in pairs[number][1:]]
    for row in saved.iter_rows(named=True):
        expected = math.fsum(reply_logprobs(reference, row["prompt"], row["completion"]))
        assert row["reference_logprob"] == pytest.approx(expected, abs=1e-5)
    monkeypatch.undo()
    resumed = align(reference, pairs, steps=2, pairs_per_step=2, checkpoints=tmp_path)
    assert is_same(weights(good.policy), weights(resumed.policy))


def saved_pairs(saved, pairs) -> list[int]:
    """Which pairs a table holds, by prompt and chosen completion."""
    rows = list(saved.iter_rows(named=True))[::2]
    return [[(p, c) for p, c, _ in pairs].index((row["prompt"], row["completion"])) for row in rows]


def test_damaged_reference_is_named():
    reference = letter_policy(2)
    with torch.no_grad():
        reference.model.lm_head.weight[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match="reference gives 1 pairs log-probabilities that are not finite"):
        align(reference, [("a", "b", "a")])


@pytest.mark.parametrize(("every", "steps", "expected"), [(3, 8, [0, 3, 6, 8]), (4, 8, [0, 4, 8]), (9, 2, [0, 2])])
def test_measured_at_the_start_on_schedule_and_at_the_end(every, steps, expected):
    seen = []
    reference = letter_policy(2)
    found = align(
        reference, [("a", "b", "a")], steps=steps, measure_every=every,
        measure=lambda step, policy: seen.append((step, weights(policy), policy.model.training)),
    )  # fmt: skip
    assert [step for step, _, _ in seen] == expected
    assert not any(training for _, _, training in seen)
    assert is_same(seen[0][1], weights(reference))
    assert is_same(seen[-1][1], weights(found.policy))


def test_measured_where_the_distance_passes_a_multiple_of_the_grid():
    """The KL that decides is that of the policy's own replies, not of the pairs."""
    reference, seen = letter_policy(2), {}

    def measure(step, policy):
        seen[step] = exact_kl(policy, reference, PROMPTS, 2)

    found = align(
        reference, bradley_terry_pairs(), steps=24, dpo_beta=0.05, measure=measure, measure_every=2, measure_grid=0.3
    )
    looked = {log.step: log.kl for log in found.logs if not math.isnan(log.kl)}
    assert list(looked) == list(range(2, 25, 2))
    cells = {step: math.floor(math.sqrt(kl) / 0.3) for step, kl in {0: 0.0, **looked}.items()}
    steps = sorted(cells)
    expected = [step for before, step in itertools.pairwise(steps) if cells[step] != cells[before]]
    assert list(seen) == sorted({0, *expected, 24})
    assert len(seen) > 3
    for step, kl in seen.items():
        # Rao-Blackwellised over 64 replies, of which each has at most a few nats.
        assert step == 0 or looked[step] == pytest.approx(kl, rel=0.2, abs=0.02)


def test_a_reason_to_stop_is_kept(tmp_path):
    reference, pairs = letter_policy(2), [("a", "b", "a")]
    settings = {"steps": 9, "measure_every": 2, "checkpoints": tmp_path}
    for _ in range(2):
        found = align(reference, pairs, measure=lambda step, policy: "far enough" if step == 4 else None, **settings)
        assert (found.stopped, len(found.logs)) == ("far enough", 4)


@pytest.mark.parametrize("loss", ["dpo", "ipo", "slic", "slic-hf"])
def test_curve_lies_on_the_axes_of_reinforcement_learning(loss):
    """Pairs that prefer the letter c: gold rises with the measured KL, each with its standard error."""
    reference, prompts = letter_policy(3), ["a", "b", "c a", "b b"]
    pairs = [(p, c, r) for p in prompts for c, r in (("c", "a"), ("c c", "b"), ("a c", "a b"))]
    scorer = LetterScorer(has_c)
    measurement = Measurement(
        reference, prompts, range(4), replies=32, proxy=scorer, gold=scorer, sampler=SAMPLER, seed=5
    )
    align(reference, pairs, steps=20, loss=loss, measure=measurement, measure_every=5, learning_rate=3e-3)
    curve = measurement.curve()
    assert curve["step"].to_list() == [0, 5, 10, 15, 20]
    assert curve["kl"][0] == pytest.approx(0, abs=1e-6)
    assert (curve["kl"].diff().drop_nulls() > 0).all()
    assert curve["gold"][4] > curve["gold"][0] + 3 * curve["gold_se"][4]
    assert (curve["kl_se"][1:] > 0).all()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"steps": 0}, "steps"),
        ({"loss": "ppo"}, "loss"),
        ({"dpo_beta": 0.0}, "dpo_beta"),
        ({"dpo_beta": math.nan}, "dpo_beta"),
        ({"label_smoothing": 0.5}, "label_smoothing"),
        ({"label_smoothing": 0.1, "loss": "ipo"}, "label_smoothing"),
        ({"per_token": True}, "per_token"),
        ({"nll_coef": -1.0}, "nll_coef"),
        ({"pairs_per_step": 2.0}, "pairs_per_step"),
        ({"measure_grid": 0.0}, "measure_grid"),
        ({"measure_every": 0}, "measure_every"),
        ({"learning_rate": math.inf}, "learning_rate"),
        ({"max_gradient": 0.0}, "max_gradient"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"precision": "fp16"}, "precision"),
        ({"warm_up": -1}, "warm_up"),
        ({"lora_rank": True}, "lora_rank"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, name):
    with pytest.raises(ConfigError, match=rf"direct\.{name}"):
        DirectConfig(**{"steps": 1, **changes})


def test_pairs_that_cannot_work_are_refused_by_number():
    reference = letter_policy(2)
    with pytest.raises(DataError, match=r"2 of 3 pairs have the same completion on both sides, the first is pair 1"):
        align(reference, [("a", "b", "a"), ("a", "b", "b"), ("b", " a", "a ")])
    long = " ".join("a" * 70)
    with pytest.raises(DataError, match=r"1 of 2 pairs take more than the 64 tokens .* pair 1, the longest takes 73"):
        align(reference, [("a", "b", "a"), ("a", "b", long)])
    with pytest.raises(DataError, match="2 prompts, 2 chosen and 1 rejected"):
        align_policy(
            reference, ["a", "b"], ["a", "b"], ["b"], config=DirectConfig(steps=1), sampler=SAMPLER, seed=0,
            measure=lambda step, policy: None,
        )  # fmt: skip
    with pytest.raises(ConfigError, match=r"pairs_per_step is 2, but there are 1 pairs"):
        align(reference, [("a", "b", "a")], pairs_per_step=2)
    with pytest.raises(ConfigError, match="set top_p to 1"):
        align(reference, [("a", "b", "a")], sampler=SamplerConfig(max_tokens=2, top_p=0.9))


def test_text_and_conversation_prompts_have_different_digests():
    reference = letter_policy(2)
    one = Pairs.encode(reference, ["a"], ["b"], ["a"], SAMPLER)
    other = Pairs(one.prompts, ["b a", ""], one.packed)
    assert one.digest() != other.digest()
    assert json.loads(json.dumps(one.digest())) == one.digest()
