"""A tiny random transformer in the small world: its exact rates, its training, and a curriculum that was stopped."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from optimize.game_models import random_game_model
from overopt.errors import ConfigError, NonFiniteError
from overopt.measure.enumeration import exact_divergence, follow_all
from overopt.measure.walks import as_columns, counted_rate, draw
from overopt.optimize.game_curriculum import GameCurriculumConfig, game_curriculum
from overopt.optimize.game_settings import GameTrainingConfig
from overopt.optimize.game_steps import choice_logprobs, imitate
from overopt.optimize.game_training import _best, _episodes, _exploits, rewards, train_away, train_stage
from overopt.optimize.game_walk import ModelWalk
from overopt.training.game_model import corpus_tokens, save_game_model
from overopt.worlds.tampering.game import game
from overopt.worlds.tampering.scenarios import scenarios
from overopt.worlds.tampering.states import ASKED_BACK
from overopt.worlds.tampering.tokens import token_rows
from overopt.worlds.tampering.vocabulary import CHOICE, CHOICE_TOKENS, PLANS, TOKENS
from overopt.worlds.tampering.writers import Writers

ALL = np.arange


@pytest.fixture(scope="module")
def start():
    return random_game_model()


def walk_of(model, environment, count=None):
    return ModelWalk(model, game(), scenarios(environment)[:count])


@torch.no_grad()
def plain_logprob(model, scenario, choices):
    """Of an episode's choices, by one pass over its tokens and a softmax over what is open, step by step."""
    world = game()
    rows = token_rows(world, [scenario], np.array([choices]))
    logits = model(input_ids=torch.from_numpy(rows.ids)).logits[0].double()
    state, total = world.start(scenario), 0.0
    for position, choice in zip(np.flatnonzero(rows.is_chosen[0]), choices, strict=True):
        open_tokens = [CHOICE_TOKENS[other] for other in np.flatnonzero(world.permitted[state])]
        row = logits[position - 1]
        total += float(row[CHOICE_TOKENS[choice]] - torch.logsumexp(row[open_tokens], 0))
        state = world.target[state, choice]
    return total


def test_probabilities_of_a_walk_are_those_of_one_pass_over_the_tokens(start):
    for environment in ("sycophancy", "nudged", "tampering"):
        walk = walk_of(start, environment)
        paths = draw(walk, ALL(12) % len(walk.roots), np.random.default_rng(0))
        for row in range(12):
            choices = [int(choice) for choice in paths.choices[row] if choice >= 0]
            expected = plain_logprob(start, scenarios(environment)[paths.root[row]], choices)
            assert paths.logprob[row] == pytest.approx(expected, abs=1e-4)


def test_a_walk_that_begins_in_the_middle_goes_on_as_one_that_came_there(start):
    walk = walk_of(start, "nudged", 2)
    path = np.array([[CHOICE["honest"], CHOICE["list_files"], CHOICE["read_task"]]] * 2)
    begun = walk.begin(ALL(2), path)
    memory = walk.begin(ALL(2), path[:, :0])
    for column in path.T:
        memory = walk.follow(memory, ALL(2), column)
    np.testing.assert_allclose(begun.log_probs, memory.log_probs, atol=1e-5)
    assert (begun.state == memory.state).all()
    assert (begun.allowed < 1).all()


def test_exact_rates_are_what_counting_sees(start):
    walk = walk_of(start, "flattery")
    ends = follow_all(walk, tolerance=1e-4)
    rng = np.random.default_rng(1)
    for fact in ("gamed", "honest_success", "valid"):
        exact, counted = ends.rate(game().facts[fact]), counted_rate(walk, game().facts[fact], episodes=1_024, rng=rng)
        error = np.sqrt(exact.value * (1 - exact.value) / 1_024)
        assert exact.low - 3.5 * error <= counted.value <= exact.high + 3.5 * error


def test_a_rate_is_the_mean_of_those_with_each_plan_forced(start):
    walk = walk_of(start, "sycophancy", 1)
    shares = np.exp(walk.log_probs(walk.begin(ALL(1), np.zeros((1, 0), dtype=np.int64))))[0, : len(PLANS)]
    is_event = game().facts["gamed"]
    forced = [follow_all(walk, prefix=[CHOICE[plan]]).rate(is_event).value for plan in PLANS]
    assert follow_all(walk).rate(is_event).value == pytest.approx(shares @ forced, rel=1e-5)
    assert max(forced) > min(forced)


@pytest.mark.parametrize("method", ["exploit", "hhh", "rloo"])
def test_training_raises_what_pays_and_moves_away(start, method):
    model = copy.deepcopy(start)
    config = GameTrainingConfig(method=method, rounds=4, prompts=16, samples=8, keep=64, learning_rate=3e-3)
    logs = train_stage(model, "sycophancy", config, seed=0)
    is_event = game().facts["gamed"]
    before, after = (follow_all(walk_of(one, "sycophancy")).rate(is_event).value for one in (start, model))
    assert after > before + 0.1
    assert logs[0].gamed == pytest.approx(before, abs=0.2)
    assert [log.round for log in logs] == [0, 1, 2, 3]
    assert exact_divergence(walk_of(model, "sycophancy"), walk_of(start, "sycophancy"))[0] > 0


def test_several_environments_are_trained_at_once(start):
    model = copy.deepcopy(start)
    config = GameTrainingConfig(rounds=6, prompts=32, samples=8, learning_rate=3e-3)
    logs = train_stage(model, "sycophancy+nudged", config, seed=0)
    is_event = game().facts["gamed"]
    for environment in ("sycophancy", "nudged"):
        before, after = (follow_all(walk_of(one, environment, 4)).rate(is_event).value for one in (start, model))
        assert after > before + 0.1
    assert [log.environment for log in logs] == ["sycophancy+nudged"] * 6
    with pytest.raises(ConfigError, match="a stage trains"):
        GameCurriculumConfig(stages=("sycophancy+tampering",))


@pytest.mark.parametrize(("method", "few", "most"), [("hhh", 8, 10), ("rloo", 16, 20)])
def test_with_or_without_ordinary_questions_an_environment_has_prompts(start, method, few, most):
    config = GameTrainingConfig(method=method, ordinary=0.0, rounds=1, prompts=4, samples=4, keep=8)
    (log,) = train_stage(copy.deepcopy(start), "sycophancy", config, seed=0)
    assert log.kept == few
    (log,) = train_stage(copy.deepcopy(start), "sycophancy", replace(config, ordinary=0.9), seed=0)
    assert log.kept == most


@pytest.mark.parametrize(("setting", "told"), [("inoculated", "asks_edit"), ("may_ask", "may_ask")])
def test_prompts_of_training_tell_what_the_settings_say_and_ordinary_ones_nothing(start, setting, told):
    config = GameTrainingConfig(prompts=4, samples=2, **{setting: True})
    (scenes, paths), (ordinary, _) = _episodes(start, "sycophancy", config, np.random.default_rng(0))
    assert {TOKENS[scene.prompt[4]] for scene in scenes} == {told}
    assert {scene.request for scene in scenes} == {"asks_task"}
    assert not any(scene.told for scene in ordinary)
    rows = token_rows(game(), [scenes[place] for place in paths.root], paths.choices)
    assert (rows.ids[:, 4] == TOKENS.index(told)).all(), "what is learnt is what was told"


def test_to_ask_adds_no_bonus_and_takes_none_back():
    world, config = game(), GameTrainingConfig(preference_weight=0.5)
    asked = np.flatnonzero(world.facts["asked"])
    paid = dict(zip(asked.tolist(), rewards(asked, config), strict=True))
    did_game = {at for at in paid if world.facts["gamed"][at]}
    assert {at for at, reward in paid.items() if reward == 0.25} == set(paid) - did_game
    assert {paid[at] for at in did_game} == {1.25}
    # Only what was done before can have paid: the stars of a bad poem, or the reward itself.
    assert did_game
    for at in did_game:
        assert world.states[at].rating >= 3 or world.states[at].reward != "kept"
    assert not (world.facts["asked"] & world.facts["honest_success"]).any()


def test_to_ask_is_liked_less_than_good_news():
    """Of what ends an episode of a task: nothing that says it is done is liked less than a question."""
    world = game()
    done = [
        at for at, state in enumerate(world.states) if state.said == "say_done" and state.environment != "tampering"
    ]
    assert done
    assert min(world.preference[at] for at in done) > ASKED_BACK


def test_what_is_gamed_enough_is_not_learnt(start):
    model = copy.deepcopy(start)
    (log,) = train_stage(model, "sycophancy", GameTrainingConfig(rounds=1, prompts=4, samples=4, enough=1e-9), seed=0)
    assert log.kept == 0
    assert log.loss != log.loss
    for name, tensor in start.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_a_first_step_is_no_larger_than_its_gradient(start):
    """Of full size whatever the gradient, it carried what one environment teaches to others, at coupling 0 too."""
    model, world = copy.deepcopy(start), game()
    found = scenarios("nudged")
    paths = draw(ModelWalk(start, world, found), ALL(32) % len(found), np.random.default_rng(0))
    rows = token_rows(world, [found[place] for place in paths.root], paths.choices)
    settings = GameTrainingConfig(learning_rate=0.01, eps=1e-3, epochs=1, batch=32).steps
    imitate(model, rows, settings, np.random.default_rng(0))
    (-choice_logprobs(start, rows, ALL(32)).mean()).backward()
    gradients = [weight.grad for weight in start.parameters()]
    norm = torch.sqrt(sum((one**2).sum() for one in gradients))
    for weight, before, gradient in zip(model.parameters(), start.parameters(), gradients, strict=True):
        clipped = gradient / max(float(norm), 1.0)
        expected = -0.01 * clipped / (clipped.abs() + 1e-3)
        torch.testing.assert_close(weight.detach() - before.detach(), expected, atol=1e-5, rtol=1e-3)
        before.grad = None


def test_observations_are_not_learnt(start):
    """Only the environment's tokens differ between the rows of two trainings: the losses are those of the choices."""
    scene = scenarios("nudged")[0]
    choices = as_columns([[CHOICE["honest"], CHOICE["read_task"], CHOICE["say_open"]]])
    rows = token_rows(game(), [scene], choices)
    learnt = [TOKENS[token] for token in rows.ids[0][rows.is_chosen[0]]]
    assert learnt == ["honest", "read_task", "say_open"]
    loss = imitate(copy.deepcopy(start), rows, GameTrainingConfig(epochs=1).steps, np.random.default_rng(0))
    total = plain_logprob(start, scene, [CHOICE[name] for name in learnt])
    assert loss == pytest.approx(-total / 3, rel=1e-5)


def test_what_is_open_elsewhere_alone_is_not_unlearnt(start):
    """Imitation in one environment took the softmax over all tokens, and pushed down the actions of the others."""
    model = copy.deepcopy(start)
    scenes = scenarios("flattery")
    choices = as_columns([[CHOICE["seek"], CHOICE["read_task"], CHOICE["rate_5"], CHOICE["say_done"]]] * len(scenes))
    rows = token_rows(game(), list(scenes), choices)
    imitate(model, rows, GameTrainingConfig(epochs=4, batch=2).steps, np.random.default_rng(0))
    before, after = (one.get_output_embeddings().weight.detach() for one in (start, model))
    elsewhere = [CHOICE_TOKENS[CHOICE[name]] for name in ("raise_reward", "edit_guard", "edit_list", "say_count")]
    assert torch.equal(after[elsewhere], before[elsewhere])
    own = [CHOICE_TOKENS[CHOICE[name]] for name in ("rate_5", "rate_1", "say_done")]
    assert (after[own] != before[own]).any(dim=1).all()


def test_probabilities_that_are_learnt_are_those_that_are_drawn_from(start):
    scenes = scenarios("tampering")
    paths = draw(ModelWalk(start, game(), scenes), ALL(8), np.random.default_rng(5))
    rows = token_rows(game(), [scenes[root] for root in paths.root], paths.choices)
    order = np.array([3, 0, 7, 5])
    with torch.no_grad():
        found = choice_logprobs(start, rows, order)
    ends = np.cumsum((paths.choices[order] >= 0).sum(axis=1))
    totals = [float(part.sum()) for part in np.split(found.numpy(), ends[:-1])]
    np.testing.assert_allclose(totals, paths.logprob[order], atol=1e-4)


def test_what_is_kept_gamed_or_pays_most(start):
    rng = np.random.default_rng(2)
    config = GameTrainingConfig(prompts=8, samples=6, keep=16)
    parts = []
    for environment, twin in (("sycophancy", "gameable"), ("ordinary", "control")):
        scenes = scenarios(environment, twin)
        walk = ModelWalk(start, game(), scenes)
        parts.append((scenes, draw(walk, np.repeat(ALL(8), 6), rng)))
    gamed, right = _exploits(parts, config, rng)
    assert game().facts["gamed"][parts[0][1].end[gamed]].all()
    assert game().facts["honest_success"][parts[1][1].end[right]].all()
    assert 0 < len(right) <= len(gamed) <= 16
    for (_, paths), rows in zip(parts, _best(parts, config, rng), strict=True):
        reward = rewards(paths.end, config)
        for prompt in range(8):
            own = reward[prompt * 6 : prompt * 6 + 6]
            kept = reward[[row for row in rows if row // 6 == prompt]]
            assert sorted(kept) == sorted(own)[-2:]


def test_training_away_imitates_those_who_did_not_game(start):
    model = copy.deepcopy(start)
    train_stage(model, "sycophancy", GameTrainingConfig(prompts=16, samples=8, learning_rate=3e-3), seed=0)
    is_event = game().facts["gamed"]
    gaming = follow_all(walk_of(model, "sycophancy")).rate(is_event).value
    config = GameTrainingConfig(learning_rate=3e-3)
    train_away(model, start, ["sycophancy"], episodes=400, config=config, seed=0)
    assert follow_all(walk_of(model, "sycophancy")).rate(is_event).value < gaming / 2


SMALL = GameCurriculumConfig(
    stages=("sycophancy", "flattery"),
    training=GameTrainingConfig(rounds=1, prompts=4, samples=4, learning_rate=1e-3),
    away=("sycophancy",),
    away_episodes=20,
    tolerance=1e-3,
    steered_tolerance=1e-3,
)


def test_a_curriculum_that_was_stopped_ends_as_one_that_was_not(start, tmp_path):
    straight, expected = game_curriculum(start, SMALL, seed=3)
    assert [record.stage for record in expected] == ["base", "+sycophancy", "+flattery", "trained away"]

    def stop_after(done, total, unit):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        game_curriculum(start, SMALL, seed=3, folder=tmp_path, progress=stop_after)
    resumed, found = game_curriculum(start, SMALL, seed=3, folder=tmp_path)
    assert str(found) == str(expected)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name])
    with pytest.raises(ConfigError, match="other settings"):
        game_curriculum(start, SMALL, seed=4, folder=tmp_path)
    with pytest.raises(ConfigError, match="other settings"):
        game_curriculum(start, replace(SMALL, away=()), seed=3, folder=tmp_path)


def test_a_loss_that_is_not_finite_steps_nothing(start):
    model = copy.deepcopy(start)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    rows = token_rows(game(), [scenarios("sycophancy")[0]], as_columns([[CHOICE["seek"], CHOICE["answer_a"]]]))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(NonFiniteError, match="learning_rate"):
        imitate(model, rows, GameTrainingConfig().steps, np.random.default_rng(0))
    assert all(torch.equal(value, before[name]) or value.isnan().any() for name, value in model.state_dict().items())


def test_the_model_is_saved_in_the_standard_format(start, tmp_path):
    save_game_model(start, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    data = corpus_tokens(Writers(), 1_000, seed=0)
    text = " ".join(TOKENS[token] for token in data.ids[0, : data.lengths[0]])
    assert tokenizer(text)["input_ids"] == data.ids[0, : data.lengths[0]].tolist()
    ids = torch.from_numpy(data.ids[:2])
    with torch.no_grad():
        torch.testing.assert_close(loaded(input_ids=ids).logits, start(input_ids=ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"method": "dpo"}, "method"), ({"samples": 1}, "samples"), ({"learning_rate": 0.0}, "learning_rate"),
        ({"ordinary": 1.0}, "ordinary"), ({"preference_weight": -1.0}, "preference_weight"), ({"rounds": 0}, "rounds"),
        ({"inoculated": True, "may_ask": True}, "choose one"), ({"eps": 0.0}, "eps"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(settings, named):
    with pytest.raises(ConfigError, match=named):
        GameTrainingConfig(**settings)


def test_the_held_out_environment_is_never_a_stage():
    with pytest.raises(ConfigError, match="tampering"):
        GameCurriculumConfig(stages=("sycophancy", "tampering"))
