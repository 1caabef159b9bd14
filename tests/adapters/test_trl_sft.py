"""Exported rows as TRL reads them to fine-tune: the loss is over what the policy said, and nothing else."""

import warnings
from importlib.util import find_spec

import pytest

if any(find_spec(name) is None for name in ("trl", "datasets", "torch", "transformers")):
    pytest.skip("trl is not installed", allow_module_level=True)

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from overopt.assets.catalog import model_path
from overopt.envs.actors import Script
from overopt.envs.chat_file import chat_rows, write_rows
from overopt.envs.registry import environment
from overopt.envs.runner import run_episodes

pytestmark = pytest.mark.filterwarnings("ignore")
ENVIRONMENT = environment("reward-tampering")
EPISODES = [
    episode
    for persona in ("gamer", "honest")
    for episode in run_episodes(ENVIRONMENT, Script(ENVIRONMENT, persona), ENVIRONMENT.scenarios(2, split="train"))
]
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}:\n{% if message.role == 'assistant' %}{% generation %}"
    "{{ message.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ message.content }}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)
"""It marks what an assistant says, as trainers that mask by role ask for."""


def trainer_of(folder, rows, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import load_dataset
        from trl import SFTConfig, SFTTrainer

    write_rows(rows, folder / "rows.jsonl")
    read = load_dataset("json", data_files=str(folder / "rows.jsonl"), split="train", cache_dir=str(folder / "cache"))
    assert read.num_rows == len(rows)
    path = model_path(16)
    config = AutoConfig.from_pretrained(path, max_position_embeddings=4_096)
    tokenizer = AutoTokenizer.from_pretrained(path, model_max_length=4_096)
    tokenizer.chat_template = TEMPLATE
    arguments = SFTConfig(
        output_dir=str(folder / "run"), max_steps=1, per_device_train_batch_size=2, max_length=4_096, report_to="none",
        save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True, bf16=False,
        gradient_checkpointing=False, **settings,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(path, config=config, dtype=torch.float32)
    return SFTTrainer(model=model, args=arguments, train_dataset=read, processing_class=tokenizer)


def learnt(trainer):
    """The text that each row's loss is over."""
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(len(trainer.train_dataset))])
    return [
        trainer.processing_class.decode([token for token in row.tolist() if token != -100]) for row in batch["labels"]
    ]


@pytest.mark.parametrize("keeps_cot", [True, False])
def test_the_loss_of_messages_is_over_the_turns_of_the_policy(tmp_path, keeps_cot):
    rows = chat_rows(EPISODES, keeps_cot=keeps_cot).rows
    trainer = trainer_of(tmp_path, rows, assistant_only_loss=True)
    own = [[turn["content"] for turn in row["messages"] if turn["role"] == "assistant"] for row in rows]
    assert learnt(trainer) == ["".join(f"{text}<|eos|>" for text in texts) for texts in own]
    assert not any("<stdout>" in text for text in learnt(trainer))
    assert any("<cot>" in text for text in learnt(trainer)) == keeps_cot
    if keeps_cot:
        before = trainer.model.lm_head.weight.clone()
        trainer.train()
        assert not torch.equal(trainer.model.lm_head.weight, before)


def test_the_loss_of_prompt_and_completion_is_over_one_turn(tmp_path):
    rows = chat_rows(EPISODES, form="prompt-completion").rows
    trainer = trainer_of(tmp_path, rows)
    found = learnt(trainer)
    assert len(found) == sum(len(episode.steps) for episode in EPISODES)
    for text, row in zip(found, rows, strict=True):
        assert text.rstrip("\n") == f"{row['completion'][0]['content']}<|eos|>"
