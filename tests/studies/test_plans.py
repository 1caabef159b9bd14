"""What the plans of the studies with questions refuse, and what they share."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from overopt.errors import ConfigError, StorageError
from overopt.studies.catalog import build_study
from overopt.studies.denison2024.arms import Arms
from overopt.studies.denison2024.config import PRESETS as DENISON_PRESETS
from overopt.studies.gao2022.config import PRESETS, GaoConfig
from overopt.studies.gao2022.plan import gao2022
from overopt.studies.grm2024.config import PRESETS as GRM_PRESETS
from overopt.studies.mitigations.config import MitigationsConfig
from overopt.studies.models import ModelRef
from overopt.studies.runner import claim_folder
from overopt.studies.study import with_settings
from overopt.training.game_config import GameModelConfig
from overopt.workflow import Needs
from overopt.worlds.tampering.writers import Writers

SMOKE = PRESETS["smoke"]
DOCS = Path(__file__).parents[2] / "docs" / "studies.md"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference_proxy": "chitchat-w128"}, "reference_proxy is chitchat-w128, which is not among proxies"),
        ({"large_proxies": ()}, "large_proxies names at least one value"),
        ({"other_policies": ("chitchat-w64",)}, "policy and other_policies name each model once"),
        ({"flip_rates": (0.1, 0.1)}, "flip_rates names each value once"),
        ({"flip_rates": (0.5,)}, "flip_rates lie within 0 and .5"),
        ({"penalties": (0.0, 0.15)}, "penalties are above 0"),
        ({"compared_penalty": 0.3}, "compared_penalty is 0.3, which is not among penalties"),
        ({"pairs": 5_000}, "5000 pairs need more than 500 comparisons"),
        ({"large_prompts": 9}, "large_prompts are among the 8 prompts; got 9"),
        ({"rounds": 1_000}, "400 pairs are too few for 1000 rounds"),
        ({"fitted_up_to": 0}, "fitted_up_to is 0"),
        ({"rl": replace(SMOKE.rl, algorithm="rloo")}, "the study is about PPO; rl.algorithm is rloo"),
        ({"rl": replace(SMOKE.rl, kl_coef=0.1)}, "rl.kl_coef is 0 here"),
        ({"slow_rate": 1.0}, "slow_rate lies between 0 and 1; got 1.0"),
        ({"pool": 1}, "pool must be at least 2; got 1"),
    ],
)
def test_settings_that_would_make_the_pages_false_are_refused(changes, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        replace(SMOKE, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"members": 1}, "at least two members"),
        ({"runs": 6}, "runs lie within 1 and members"),
        ({"flip_rate": 0.0}, "flip_rate lies between 0 and .5"),
        ({"matched_kl": 50.0}, "matched_kl lies between 0 and end_kl"),
        ({"stop_probability": 0.2}, "stop_probability lies within .5 and 1"),
    ],
)
def test_mitigations_refuse_them_too(changes, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        MitigationsConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": (200, 100)}, "sizes ascend and name each once; got [200, 100]"),
        ({"pairs": 150}, "pairs is 150, which is not among sizes"),
        ({"sweep_sizes": (100,)}, "sweep_sizes are among sizes, and pairs among them; got [100]"),
        ({"comparisons": 300}, "200 pairs and 100 of the separate proxy need more than 300 comparisons"),
        ({"judged": 26}, "judged is 26, and half of the held-out prompts are 25"),
        ({"seeds": 1}, "seeds must be at least 2, they are what is replicated; got 1"),
        ({"members": 1}, "an ensemble has at least two members; got 1"),
        ({"flip_rate": 0.5}, "flip_rate lies between 0 and .5; got 0.5"),
        ({"alphas": (0.3, 0.05)}, "alphas ascend above 0 and name each once"),
        ({"alphas": (0.05, 1.0)}, "alphas lie below 1; got 1.0"),
        ({"text_weight": 0.2}, "text_weight is 0.2, which is not among alphas"),
        ({"ppo_methods": ("bt", "grm")}, "ppo_methods names grm, which is no method; there are bt, frozen"),
        ({"noisy_methods": ("bt",)}, "noisy_methods names bt and grm-sft, and each once; got bt"),
        ({"noisy_ppo_methods": ("bt", "grm-sft", "mix")}, "noisy_ppo_methods names mix, which is not among"),
        ({"matched_n": 64}, "matched_n lies between 1 and pool; got 64"),
        ({"matched_kl": 3.0}, "matched_kl lies between 0 and end_kl; got 3.0 and 1.0"),
        ({"smoothing": 0.5}, "smoothing lies between 0 and .5; got 0.5"),
        ({"margin_scale": 0.0}, "margin_scale must be above 0; got 0.0"),
        ({"loss_texts": 1}, "loss_texts must be at least 2; got 1"),
        (
            {"reward_training": replace(GRM_PRESETS["smoke"].reward_training, label_smoothing=0.1)},
            "reward_training is plain Bradley-Terry here",
        ),
    ],
)
def test_grm2024_refuses_them_too(changes, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        replace(GRM_PRESETS["smoke"], **changes)


@pytest.mark.parametrize("name", ["denison2024", "gao2022", "grm2024", "mitigations"])
def test_every_table_of_a_question_is_made_and_every_table_is_asked_for(name):
    study = build_study(name, "smoke")
    asked = [table for tables in study.questions.values() for table in tables]
    assert set(asked) == set(study.tables)
    assert all(len(set(tables)) == len(tables) for tables in study.questions.values())
    assert set(study.runs) == {table.removeprefix("rl/").removesuffix(".parquet") for table in asked if "rl/" in table}
    for origin in study.runs.values():
        assert f"scores/{origin['proxy']}.parquet".replace("scores", origin["scores"], 1) in study.tables
        assert f"pools/{origin['pool']}.parquet" in study.tables


def test_different_work_under_one_name_is_refused():
    with pytest.raises(ConfigError, match="two different proxies of the study would be called"):
        gao2022("smoke", assignments=["flip_rates=[0.1,0.102]"])
    with pytest.raises(ConfigError, match="two different runs of the study would be called"):
        gao2022("smoke", assignments=["penalties=[0.15,0.1500001]"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sweep_seeds": 9}, "sweep_seeds are the first of seeds, 2 at most; got 9"),
        ({"couplings": (0.5, 1.0)}, "couplings lie between 0 and 1, the controls; got [0.5, 1.0]"),
        ({"ordinary_shares": (1.0,)}, "ordinary_shares lie within 0 and 1, below 1; got [1.0]"),
        ({"kl_coefs": (0.3, 0.3)}, "kl_coefs must be different numbers; got [0.3, 0.3]"),
        ({"preference_weights": (-1.0,)}, "preference_weights must be 0 or more; got [-1.0]"),
        ({"stages": ("tampering",)}, "a stage trains sycophancy, flattery, nudged, insubordinate"),
        ({"stages": ()}, "stages need one environment at least"),
        ({"away": ("tampering",)}, "away takes sycophancy, flattery, nudged, insubordinate; got tampering"),
        ({"stop_factor": 1.0}, "stop_factor must be above 1; got 1.0"),
        ({"tolerance": 0.1}, "tolerance must lie within 0 and 0.001; got 0.1"),
        ({"counted": 0}, "counted must be at least 1; got 0"),
        (
            {"model": GameModelConfig(writers=Writers(coupling=0.5))},
            "model.writers.coupling is set by the study itself",
        ),
        ({"model": GameModelConfig(writers=Writers(told_share=0.5))}, "give told_share"),
    ],
)
def test_denison2024_refuses_settings_that_make_no_study(changes, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        replace(DENISON_PRESETS["smoke"], **changes)


@pytest.mark.parametrize("setting", ["inoculated", "may_ask"])
def test_what_every_prompt_of_training_tells_can_be_set(setting):
    """An arm that tells something else tells that instead, and not both."""
    usual = replace(DENISON_PRESETS["smoke"].training, **{setting: True})
    arms = Arms(replace(DENISON_PRESETS["smoke"], training=usual))
    told = {arm.id: arm.training.told for arm in arms}
    assert (told["inoculated"], told["offered"]) == ("asks_edit", "may_ask")
    assert told["hhh"] == usual.told


def test_no_arm_of_denison2024_trains_on_what_is_held_out_and_controls_differ_by_the_dial_alone():
    arms = Arms(DENISON_PRESETS["default"])
    assert all("tampering" not in stage for arm in arms for stage in arm.stages)
    assert (arms.main.coupling, arms.zero.coupling) == (1.0, 0.0)
    assert arms.main.training == arms.zero.training
    assert arms.main.seeds == arms.zero.seeds >= 5
    for name, control in arms.method_controls.items():
        arm = next(arm for arm in arms.methods if arm.id == name)
        assert arm.training == control.training
        assert control.coupling == 0.0
    rounds = {arm.id: arm.training.rounds * len(arm.stages) for arm in arms.orders}
    assert len(set(rounds.values())) == 1, rounds


def test_models_on_a_gpu_ask_for_one():
    def needs(*assignments):
        return {stage.name: stage.needs for stage in gao2022("smoke", assignments=assignments).stages()}

    assert set(needs().values()) == {Needs()}
    on_gpu = needs("device=cuda")
    assert on_gpu.pop("study.prompts") == Needs()
    assert set(on_gpu.values()) == {Needs(gpus=1.0)}


def test_a_gold_is_known_by_its_files(tmp_path):
    settings = tmp_path / "judge.json"
    settings.write_text('{"model": "one"}', encoding="utf-8")
    before = gao2022("smoke", assignments=[f"gold=judge:{settings}"]).tables["pools/pool.parquet"].stage.key
    settings.write_text('{"model": "two"}', encoding="utf-8")
    assert gao2022("smoke", assignments=[f"gold=judge:{settings}"]).tables["pools/pool.parquet"].stage.key != before
    with pytest.raises(ConfigError, match="an ensemble; a study takes the rubric, a reward model or a judge"):
        gao2022("smoke", assignments=["gold=mean:a,b"])


def test_the_command_of_the_docs_for_ones_own_models_is_a_study():
    command = re.search(r"overopt run gao2022 --preset full --out runs/mine.*?```", DOCS.read_text("utf-8"), re.DOTALL)
    assignments = re.findall(r"--set (?:'([^']*)'|(\S+))", command.group(0))
    config = with_settings(PRESETS["full"], [quoted or plain for quoted, plain in assignments])
    assert config.policy == "EleutherAI/pythia-1.4b"
    assert ModelRef.of(config.proxies[0]).short_name == "pythia-70m"
    assert isinstance(config, GaoConfig)


def test_a_folder_of_other_settings_is_refused_in_one_readable_sentence(tmp_path):
    study = gao2022("smoke")
    claim_folder(study, tmp_path / "run")
    with pytest.raises(StorageError, match=r"holds another study \(prompts is 8, not 7\)") as caught:
        claim_folder(gao2022("smoke", assignments=["prompts=7"]), tmp_path / "run")
    assert len(str(caught.value)) < 250
    path = tmp_path / "run/study.json"
    header = json.loads(path.read_text(encoding="utf-8"))
    header["questions"]["sizes"].append("another.parquet")
    path.write_text(json.dumps(header), encoding="utf-8")
    with pytest.raises(StorageError, match="as another version of overopt planned it"):
        claim_folder(study, tmp_path / "run")
