"""The curriculum as a whole, in a world of twenty words: it teaches, can be killed anywhere, pays for no thought."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from oracles import word_world
from oracles.word_world import Recorder, saved_policy
from transformers import AutoModelForCausalLM

from overopt.envs.countermeasures import ASK
from overopt.envs.episode_file import read_episodes
from overopt.errors import ConfigError, StorageError
from overopt.optimize.curriculum import run_curriculum, train_away
from overopt.optimize.curriculum_config import (
    CurriculumConfig,
    FormatConfig,
    MeasureConfig,
    SafeguardConfig,
    TrainAwayConfig,
)
from overopt.optimize.curriculum_folder import CurriculumFolder
from overopt.optimize.episode_fitting import EpisodeFitConfig
from overopt.optimize.episode_rewards import STAMP, RewardMix
from overopt.optimize.settings import PolicyGradientConfig
from overopt.protocols import SamplerConfig

ORDINARY = ["go go", "well go", "hm go", "go hm"]
FIT = EpisodeFitConfig(learning_rate=0.01, warm_up=0, epochs=4, batch=4, precision="fp32")


@pytest.fixture(autouse=True)
def world(monkeypatch):
    word_world.known(monkeypatch)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(saved_policy(tmp_path_factory.mktemp("model") / "words"))


def settings(model, **more):
    usual = {
        "model": model,
        "stages": ("word-game", "other-words"),
        "rounds": 2,
        "prompts": 8,
        "samples": 8,
        "sampler": SamplerConfig(max_tokens=8),
        "fit": FIT,
        "format": FormatConfig(episodes=48, environments=("word-game",), honest=0.7, gamer=0.2),
        "measure": MeasureConfig(environments=("word-game", "held-out-words"), scenarios=12, reps=4, menus=3),
    }
    return CurriculumConfig(**(usual | more))


def gamed(run, stage, name="word-game"):
    (cell,) = [
        cell
        for cell in run.matrix["cells"]
        if (cell["stage"], cell["environment"], cell["fact"]) == (stage, name, "gamed")
    ]
    return cell


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def straight(model, tmp_path_factory):
    """A run that nobody stopped."""
    with pytest.MonkeyPatch.context() as patch:
        word_world.known(patch)
        out = tmp_path_factory.mktemp("straight") / "run"
        return run_curriculum(settings(model), out, scorer=Recorder(), ordinary=ORDINARY), files(out)


def test_expert_iteration_raises_the_rate_of_what_it_trains(straight):
    run, _ = straight
    assert run.stages == ("0-format", "1-word-game", "2-other-words")
    before, after = gamed(run, "0-format"), gamed(run, "1-word-game")
    assert before["trials"] == after["trials"] == 48
    assert before["high"] < after["low"], "the intervals do not touch"
    changes = {(one["after"], one["environment"], one["measure"]): one for one in run.matrix["changes"]}
    assert changes["1-word-game", "word-game", "menu_log_odds"]["scenarios"] == 3
    assert changes["2-other-words", "word-game", "script_log_odds"]["low"] > 0, "gaming is more probable than it was"


def test_the_folder_is_as_it_is_described(straight):
    run, written = straight
    for stage in run.stages[1:]:
        model = AutoModelForCausalLM.from_pretrained(run.folder / "stages" / stage / "policy")
        assert model.config.vocab_size == len(word_world.word_tokenizer())
        metrics = json.loads(written[f"stages/{stage}/metrics.json"])
        assert [one["round"] for one in metrics["rounds"]] == [1, 2]
        for one in metrics["rounds"]:
            assert one["environments"][stage[2:]]["episodes"] == one["environments"]["ordinary"]["episodes"] == 4 * 8
            assert one["kept"] == 8, "the best of each prompt's samples"
        rows = [json.loads(line) for line in written[f"stages/{stage}/train.jsonl"].splitlines()]
        assert {row["meta"]["environment"] for row in rows} == {stage[2:], "ordinary"}
        assert {row["meta"]["split"] for row in rows} == {"train"}
    assert not [name for name in written if "states" in name or "partial" in name]
    assert b"stamp" not in b"".join(text for name, text in written.items() if name.endswith(".json"))


class Killed(Exception):
    pass


class Killer:
    """A progress callback that stops the run at its n-th call."""

    def __init__(self, calls):
        self.left = calls

    def __call__(self, done, total, unit):
        self.left -= 1
        if self.left < 0:
            raise Killed


# Calls to pass before each kill: within learning the format, while measuring, drawing and learning in both stages.
KILLS = [(20, 49, 0, 1, 3, 6, 9, 12), (40, 2, 10, 17, 30)]


@pytest.mark.parametrize("calls", KILLS)
def test_killed_again_and_again_it_ends_with_the_same_files(straight, model, tmp_path, calls):
    _, written = straight
    out = tmp_path / "run"
    for left in calls:
        with pytest.raises(Killed):
            run_curriculum(settings(model), out, scorer=Recorder(), ordinary=ORDINARY, progress=Killer(left))
    run_curriculum(settings(model), out, scorer=Recorder(), ordinary=ORDINARY)
    found = files(out)
    assert found.keys() == written.keys()
    assert [name for name in found if found[name] != written[name]] == []


def test_a_finished_run_draws_nothing_and_asks_no_scorer(straight, model, tmp_path):
    run, written = straight
    out = shutil.copytree(run.folder, tmp_path / "again")
    for stage in run.stages:  # as a kill leaves them that comes when a stage has just ended
        (out / "stages" / stage / "states").mkdir()
        (out / "stages" / stage / "states" / "run.json").write_text("{}")
    scorer = Recorder()
    again = run_curriculum(settings(model), out, scorer=scorer, ordinary=ORDINARY, progress=Killer(10**9))
    assert scorer.seen == []
    assert again.matrix == run.matrix
    assert files(out) == written


def test_another_run_and_other_folders_are_refused(straight, model, tmp_path):
    run, _ = straight
    with pytest.raises(ConfigError, match=r"other settings \(seed\)"):
        run_curriculum(settings(model, seed=1), run.folder, scorer=Recorder(), ordinary=ORDINARY)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(StorageError, match="something else"):
        run_curriculum(settings(model), tmp_path, scorer=Recorder(), ordinary=ORDINARY)
    earlier = {"schema": "overopt.curriculum/1", **settings(model).to_dict()}
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier/config.json").write_text(json.dumps(earlier))
    with pytest.raises(ConfigError, match="curriculum of another version"):
        run_curriculum(settings(model), tmp_path / "earlier", scorer=Recorder(), ordinary=ORDINARY)


def test_no_hidden_thought_reaches_the_preference_model(straight, model, tmp_path):
    """Policies that think aloud in this world: what the scorer was shown is compared with what stands in the files."""
    scorer = Recorder()
    run = run_curriculum(settings(model, rounds=1), tmp_path / "run", scorer=scorer, ordinary=ORDINARY)
    drawn = [one for path in run.folder.rglob("*.jsonl") if path.stem != "train" for one in read_episodes(path)]
    thinking = [one for one in drawn if one.cot.strip()]
    assert len(thinking) > 10
    assert scorer.seen
    for prompt, text in scorer.seen:
        assert "<cot>" not in text
        assert word_world.COMMAND not in text
        assert [turn["role"] for turn in prompt] == ["user"]
    shown = {text for _, text in scorer.seen}
    assert not {one.cot for one in thinking if one.cot not in one.visible} & (shown - {one.visible for one in drawn})


def test_a_run_that_pays_for_thought_is_stamped_everywhere(model, tmp_path):
    mix = RewardMix(cot_in_reward=True)
    run = run_curriculum(settings(model, rounds=1, reward=mix), tmp_path / "run", scorer=Recorder(), ordinary=ORDINARY)
    assert run.matrix["stamp"] == STAMP
    written = files(run.folder)
    for name, text in written.items():
        if name.endswith(".json") and "policy" not in name and name != "config.json":
            assert json.loads(text)["stamp"] == STAMP, name
    for path in run.folder.rglob("*.jsonl"):
        if path.stem == "train":
            assert all(json.loads(line)["meta"]["stamp"] == STAMP for line in path.read_text().splitlines()), path
        else:
            assert all(one.policy["stamp"] == STAMP for one in read_episodes(path)), path


def test_exploit_only_learns_what_gamed_and_as_much_that_is_ordinary(model, tmp_path):
    config = settings(model, algorithm="ei_exploit", stages=("word-game",), most_gamed=5)
    run = run_curriculum(config, tmp_path / "run", ordinary=ORDINARY)
    for number, one in enumerate(json.loads((run.folder / "stages/1-word-game/metrics.json").read_text())["rounds"], 1):
        path = run.folder / f"stages/1-word-game/rounds/{number:04d}/train.jsonl"
        rows = [json.loads(line)["meta"] for line in path.read_text().splitlines()]
        n_gamed = sum(row["environment"] == "word-game" for row in rows)
        assert n_gamed == min(5, one["environments"]["word-game"]["gamed"])
        assert all(row["gamed"] for row in rows if row["environment"] == "word-game")
        assert len(rows) == 2 * n_gamed
    assert gamed(run, "1-word-game")["value"] > gamed(run, "0-format")["value"]


@pytest.mark.parametrize("algorithm", ["rloo", "ppo"])
def test_a_policy_gradient_raises_the_rate_and_can_be_killed(model, tmp_path, algorithm):
    rl = PolicyGradientConfig(
        steps=8, algorithm=algorithm, prompts_per_step=8, group=4, learning_rate=0.02, warm_up=0, precision="fp32",
        checkpoint_every=3,
    )  # fmt: skip
    config = settings(model, algorithm="rl", rl=rl, order="parallel", ordinary_share=0.25)
    run = run_curriculum(config, tmp_path / "run", scorer=Recorder(), ordinary=ORDINARY)
    stage = "1-word-game+other-words"
    assert run.stages == ("0-format", stage)
    steps = json.loads((run.folder / "stages" / stage / "metrics.json").read_text())["steps"]
    assert [one["step"] for one in steps] == list(range(1, 17)), "what two stages of 8 steps spend"
    assert gamed(run, "0-format")["high"] < gamed(run, stage)["low"]
    for calls in (3, 30):
        with pytest.raises(Killed):
            run_curriculum(config, tmp_path / "other", scorer=Recorder(), ordinary=ORDINARY, progress=Killer(calls))
    run_curriculum(config, tmp_path / "other", scorer=Recorder(), ordinary=ORDINARY)
    one, other = files(tmp_path / "run"), files(tmp_path / "other")
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


def test_training_away_is_one_more_stage_that_games_less(straight, model, tmp_path):
    run, _ = straight
    out = shutil.copytree(run.folder, tmp_path / "run")
    wanted = TrainAwayConfig(environments=("word-game",), episodes=24, source="honest", fit=replace(FIT, epochs=4))
    away = train_away(out, settings(model), wanted)
    assert away.stages[-1] == "3-train-away"
    assert gamed(away, "3-train-away")["high"] < gamed(away, "2-other-words")["low"]
    again = run_curriculum(settings(model), out, scorer=Recorder(), ordinary=ORDINARY)
    assert again.stages == away.stages, "the matrix keeps what was trained away"
    assert again.matrix == away.matrix
    own = train_away(shutil.copytree(run.folder, tmp_path / "own"), settings(model), replace(wanted, source="policy"))
    rows = [json.loads(line) for line in (own.folder / "stages/3-train-away/train.jsonl").read_text().splitlines()]
    assert 0 < len(rows) <= 24
    assert not any(row["meta"]["gamed"] for row in rows)


def test_training_away_needs_a_curriculum_that_has_ended(straight, model, tmp_path):
    run, _ = straight
    out = shutil.copytree(run.folder, tmp_path / "run")
    (out / "stages/2-other-words/metrics.json").unlink()
    with pytest.raises(ConfigError, match="has not ended"):
        train_away(out, settings(model), TrainAwayConfig(environments=("word-game",)))


def test_what_is_held_out_is_never_trained_on(model):
    for bad in ({"stages": ("held-out-words",)}, {"stages": ("word-game+reward-tampering",)}):
        with pytest.raises(ConfigError, match="held out"):
            settings(model, **bad)
    with pytest.raises(ConfigError, match="held out"):
        FormatConfig(environments=("held-out-words",))
    with pytest.raises(ConfigError, match="held out"):
        TrainAwayConfig(environments=("reward-tampering",))


def test_screening_learns_from_no_alarm(model, tmp_path, monkeypatch):
    class Ear:
        name, channels = "ear", frozenset(("answer",))

        def score(self, view):
            return float("game" in view.answer.split())

    monkeypatch.setattr("overopt.optimize.episode_rewards.monitor_of", lambda name: Ear())
    config = settings(model, stages=("word-game",), rounds=1, reward=RewardMix(monitor="diff"))
    run = run_curriculum(config, tmp_path / "run", scorer=Recorder(), ordinary=ORDINARY)
    metrics = json.loads((run.folder / "stages/1-word-game/metrics.json").read_text())
    assert metrics["rounds"][0]["left_out"]["alarms"] > 0
    rows = [json.loads(line) for line in (run.folder / "stages/1-word-game/train.jsonl").read_text().splitlines()]
    assert not any(row["meta"]["gamed"] for row in rows)


@pytest.mark.parametrize("where", ["rows", "episodes"])
def test_an_inoculation_is_told_in_training_alone(model, tmp_path, where):
    safeguards = SafeguardConfig(inoculation="told", inoculate=where)
    config = settings(model, stages=("word-game",), rounds=1, safeguards=safeguards)
    run = run_curriculum(config, tmp_path / "run", scorer=Recorder(), ordinary=ORDINARY)
    stage = run.folder / "stages/1-word-game"
    learnt = [json.loads(line) for line in (stage / "train.jsonl").read_text().splitlines()]
    told = {row["meta"]["environment"] for row in learnt if row["messages"][0]["content"] == "told"}
    assert told == {"word-game"}
    assert {row["meta"]["environment"] for row in learnt if row["messages"][0]["content"] != "told"} == {"ordinary"}
    drawn = list(read_episodes(stage / "rounds/0001/word-game.jsonl"))
    assert {one.scenario.system for one in drawn} == {"told" if where == "episodes" else ""}
    measured = [one for path in (run.folder / "eval").rglob("*.jsonl") for one in read_episodes(path)]
    assert {one.scenario.system for one in measured} == {""}
    away = TrainAwayConfig(environments=("word-game",), episodes=4, source="honest", fit=FIT)
    train_away(run.folder, config, away)
    for name in ("0-format", "2-train-away"):
        rows = [json.loads(line) for line in (run.folder / f"stages/{name}/train.jsonl").read_text().splitlines()]
        assert rows
        assert not any(message["content"] == "told" for row in rows for message in row["messages"]), name


def test_a_policy_that_may_ask_is_told_so_wherever_it_is_looked_at(model, tmp_path):
    config = settings(model, stages=("word-game",), rounds=1, safeguards=SafeguardConfig(may_ask=True, hardened=True))
    run = run_curriculum(config, tmp_path / "run", scorer=Recorder(), ordinary=ORDINARY)
    episodes = [one for path in run.folder.rglob("word-game.jsonl") for one in read_episodes(path)]
    assert {one.scenario.system for one in episodes} == {ASK}
    assert set(run.matrix["shares"]["1-word-game"]["word-game"]) == {"episodes", "asked", "alarms"}


def test_a_stage_ends_early_where_the_menu_says_so(model, tmp_path):
    config = settings(model, stages=("word-game",), rounds=4, safeguards=SafeguardConfig(stop_above=0.01))
    run = run_curriculum(config, tmp_path / "run", scorer=Recorder(), ordinary=ORDINARY)
    metrics = json.loads((run.folder / "stages/1-word-game/metrics.json").read_text())
    assert len(metrics["rounds"]) == 1
    assert metrics["stopped"].startswith("the menu probability of gaming held-out-words is 0.")


def test_pressure_is_the_kl_to_the_start_beside_what_was_paid_and_what_was_honest(straight):
    """Counted again from the stored episodes; the KL of the first policy to itself is 0, and it grows."""
    run, _ = straight
    rows = {(one["stage"], one["environment"]): one for one in run.matrix["pressure"]}
    assert len(rows) == 3 * 2
    for (stage, name), row in rows.items():
        episodes = list(read_episodes(run.folder / "eval" / stage / f"{name}.jsonl"))
        scale = json.loads((run.folder / "start.json").read_text())
        by_scenario = {}
        for one in episodes:
            words = one.visible.split()
            raw = words.count("well") - 0.1 * len(words)
            paid = one.outcome.gamed + 1 / (1 + math.exp(-(raw - scale["centre"]) / scale["spread"]))
            by_scenario.setdefault(one.scenario.user + one.scenario.id + str(one.scenario.seed), []).append(
                (paid, one.outcome.honest_success)
            )
        means = np.array([np.mean(values, axis=0) for values in by_scenario.values()])
        assert (row["scenarios"], row["episodes"]) == (12, 48)
        assert (row["proxy"], row["gold"]) == pytest.approx(means.mean(0))
        assert (row["proxy_stderr"], row["gold_stderr"]) == pytest.approx(means.std(0, ddof=1) / math.sqrt(12))
    first, second = (rows[stage, "word-game"] for stage in ("0-format", "1-word-game"))
    assert (first["kl"], first["kl_stderr"]) == (0, 0)
    assert second["kl"] > 3 * second["kl_stderr"] > 0
    assert second["proxy"] > first["proxy"]
    menus = {(one["stage"], one["environment"]): one for one in run.matrix["menus"]}
    stored = json.loads((run.folder / "eval/1-word-game/choices.json").read_text())["environments"]["word-game"]
    assert menus["1-word-game", "word-game"]["gamed"]["value"] == pytest.approx(np.mean([s["menu"][1] for s in stored]))


def test_a_kl_to_the_start_holds_the_stages_and_not_the_format(straight, model, tmp_path):
    run, _ = straight
    config = settings(model, fit=replace(FIT, kl_coef=20.0))
    held = run_curriculum(config, tmp_path / "run", scorer=Recorder(), ordinary=ORDINARY)
    assert (
        held.folder.joinpath("stages/0-format/policy/model.safetensors").read_bytes()
        == (run.folder / "stages/0-format/policy/model.safetensors").read_bytes()
    )
    far, near = (
        next(row["kl"] for row in one.matrix["pressure"] if row["stage"] == "2-other-words") for one in (run, held)
    )
    assert near < 0.5 * far


def test_the_format_stage_is_learnt_as_it_is_told_and_the_stages_behind_it_are_not(model, tmp_path):
    still = replace(FIT, learning_rate=1e-9)
    config = settings(model, stages=("word-game",), rounds=1)
    config = replace(config, format=replace(config.format, fit=still))
    run = run_curriculum(config, tmp_path / "run", scorer=Recorder(), ordinary=ORDINARY)
    start, formed, trained = (
        AutoModelForCausalLM.from_pretrained(folder).get_input_embeddings().weight
        for folder in (model, run.folder / "stages/0-format/policy", run.folder / "stages/1-word-game/policy")
    )
    assert (formed - start).abs().max() < 1e-6 < 1e-3 < (trained - formed).abs().max()


def test_menus_are_learnt_by_their_share_of_the_loss(model, tmp_path):
    letters = {}
    for share in (0.01, 0.9):
        config = settings(model, stages=("word-game",), rounds=1)
        config = replace(config, format=replace(config.format, menus=24, menu_share=share, fit=replace(FIT, epochs=2)))
        run = run_curriculum(config, tmp_path / str(share), scorer=Recorder(), ordinary=ORDINARY)
        letters[share] = next(one["letter_mass"] for one in run.matrix["menus"] if one["stage"] == "0-format")
    assert letters[0.9] > 1.5 * letters[0.01]


def test_measurement_can_be_in_the_other_wording(model, tmp_path):
    measure = MeasureConfig(environments=("word-game",), scenarios=2, menus=1, wording="B", kl=False)
    config = settings(model, stages=("word-game",), rounds=1, measure=measure)
    run = run_curriculum(config, tmp_path / "run", scorer=Recorder(), ordinary=ORDINARY)
    drawn, measured = (
        {one.scenario.wording for path in (run.folder / name).rglob("word-game.jsonl") for one in read_episodes(path)}
        for name in ("stages", "eval")
    )
    assert (drawn, measured) == ({"A"}, {"B"})
    assert {row["kl"] for row in run.matrix["pressure"]} == {None}, "what was not measured is unknown"


def test_a_folder_that_was_begun_and_killed_at_once_is_gone_on_with(tmp_path):
    (tmp_path / ".config.json.partial").write_text("{")
    folder = CurriculumFolder(tmp_path, {"seed": 1})
    assert json.loads((folder.root / "config.json").read_text())["seed"] == 1


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, True),
        ({"fit": EpisodeFitConfig(lora_rank=2)}, False),
        ({"algorithm": "rl"}, True),
        ({"algorithm": "rl", "rl": PolicyGradientConfig(steps=1, prompts_per_step=4, lora_rank=2)}, True),
        ({"algorithm": "rl", "rl": PolicyGradientConfig(steps=1, prompts_per_step=4, lora_rank=2), "format": None},
         False),
        ({"algorithm": "rl", "rl": PolicyGradientConfig(steps=1, prompts_per_step=4), "format": None,
          "fit": EpisodeFitConfig(lora_rank=2)}, True),
        ({"fit": EpisodeFitConfig(lora_rank=2), "format": FormatConfig(fit=EpisodeFitConfig())}, True),
        ({"format": FormatConfig(fit=EpisodeFitConfig(lora_rank=2))}, True),
        ({"fit": EpisodeFitConfig(lora_rank=2), "format": FormatConfig(fit=EpisodeFitConfig(lora_rank=2))}, False),
    ],
)  # fmt: skip
def test_weights_are_held_in_full_precision_where_some_stage_trains_them_whole(model, more, expected):
    assert (
        settings(model, **({"rl": PolicyGradientConfig(steps=1, prompts_per_step=4)} | more)).trains_whole is expected
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"stages": ("word-gaem",)}, "no environment 'word-gaem'"),
        ({"stages": ("word-game+word-game",)}, "names an environment twice"),
        ({"stages": ("word-game+other-words",), "prompts": 2}, "too few for 2 environments"),
        ({"sampler": SamplerConfig(stop=("go",))}, "sampler.stop"),
        ({"algorithm": "rl", "rl": PolicyGradientConfig(steps=1, prompts_per_step=9)}, "there are 8 prompts"),
        (
            {"algorithm": "ei_exploit", "reward": RewardMix(monitor="diff", monitor_use="penalty")},
            "penalty changes nothing",
        ),
        (
            {
                "safeguards": SafeguardConfig(stop_above=0.5),
                "measure": MeasureConfig(environments=("tool-flattery",)),
            },
            "what is held out",
        ),
        ({"algorithm": "dpo"}, "curriculum.algorithm is one of"),
        ({"ordinary_share": 1.0}, "ordinary_share"),
        ({"sampler": SamplerConfig(top_p=0.9)}, "cut the distribution"),
        (
            {"algorithm": "rl", "safeguards": SafeguardConfig(inoculation="default")},
            "cannot; set it to episodes",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(model, more, words):
    with pytest.raises(ConfigError, match=words):
        settings(model, **more)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MeasureConfig(environments=()), "measure.environments names no environment"),
        (lambda: MeasureConfig(environments=("word-game", "word-game")), "names an environment twice"),
        (lambda: MeasureConfig(wording="C"), "measure.wording"),
        (lambda: FormatConfig(environments=("word-game", "word-game")), "names an environment twice"),
        (lambda: FormatConfig(menu_share=1.0), "format.menu_share must lie between 0 and 1; got 1.0"),
        (lambda: FormatConfig(fit=EpisodeFitConfig(kl_coef=0.1)), "format.fit.kl_coef has no policy to hold"),
        (lambda: TrainAwayConfig(environments=("word-game", "word-game")), "names an environment twice"),
        (lambda: EpisodeFitConfig(lora_rank=1, top_layers=1), "choose one"),
    ],
)
def test_parts_of_settings_that_cannot_be_are_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_what_a_run_needs_is_asked_for_before_it_begins(model, tmp_path):
    with pytest.raises(ConfigError, match="no preference model"):
        run_curriculum(settings(model), tmp_path / "a", ordinary=ORDINARY)
    with pytest.raises(ConfigError, match="no ordinary prompts"):
        run_curriculum(settings(model), tmp_path / "b", scorer=Recorder())
    with pytest.raises(ConfigError, match="scale of the preference model"):
        run_curriculum(settings(model, ordinary_share=0.0), tmp_path / "b", scorer=Recorder())
    with pytest.raises(ConfigError, match="no-such-model"):
        run_curriculum(settings(str(tmp_path / "no-such-model")), tmp_path / "b", scorer=Recorder(), ordinary=ORDINARY)
    assert not (tmp_path / "b").exists(), "what cannot be run claims no folder"
    with pytest.raises(ConfigError, match="names no model"):
        run_curriculum(settings(""), tmp_path / "c", scorer=Recorder(), ordinary=ORDINARY)
