"""Reinforcement learning of a policy against a scorer: one loop, and algorithms that differ in advantages and losses.

A step: sample groups of replies, score and shape them, measure log-probabilities, exact KL and entropy, turn rewards
into advantages, take clipped-ratio steps (Schulman et al. 2017, 1707.06347). What is measured does not depend on what
is penalised. Every random number of a step comes from the seed and the step's number, so a run that is resumed from a
checkpoint goes on as if it had not stopped. Axes: B replies, K reply tokens, T reply tokens padded on the right.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from overopt.errors import ConfigError, NonFiniteError
from overopt.hf.hidden import hidden_states
from overopt.hf.processes import Processes
from overopt.hf.saved_states import fingerprint
from overopt.optimize.advantages import (
    at_last_token,
    batch_normalised,
    generalised,
    group_normalised,
    leave_one_out,
)
from overopt.optimize.checkpoints import Checkpoints, Found, State
from overopt.optimize.losses import clipped_surrogate, kl_penalty, value_loss
from overopt.optimize.rollout import Drawing, Draws, Engine, Rollout, complete, draw
from overopt.optimize.settings import PolicyGradientConfig
from overopt.optimize.steps import products
from overopt.optimize.trainable import Critic, trainable_copy
from overopt.policies.logprobs import token_logprobs, token_statistics
from overopt.policies.models import HFPolicy
from overopt.protocols import Progress, Prompt, SamplerConfig, Scorer, prompt_text
from overopt.rewards.shaping import CurrentShapers, Shaper
from overopt.seeding import numbers_of, stream
from overopt.stats.estimate import FloatArray

LOGPROB_ERROR = 1e-6
"""Nats; of a token's log-probability in float32."""


@dataclass(frozen=True, slots=True)
class StepLog:
    """One step's training batch; measured, not penalised."""

    step: int
    reward: float
    """Mean raw score of the batch."""
    shaped: float
    """Mean of what was optimised."""
    kl: float
    """Exact KL of whole replies to the reference, nats, before the step."""
    k3: float
    """The same by Schulman's k3, summed over tokens."""
    entropy: float
    """Of whole replies, nats."""
    length: float
    """Tokens a reply."""
    truncated: float
    """Share of replies that did not end."""
    kl_coef: float
    clip_fraction: float
    """Share of tokens whose ratio had gone too far to get a gradient, mean over the step's passes."""
    gradient_norm: float
    """Before clipping, mean over the optimiser's steps."""
    value_error: float
    """Root mean squared error of the critic before the step, over tokens; ``nan`` without one."""


@dataclass(frozen=True, slots=True)
class Optimized:
    """What a run leaves behind."""

    policy: HFPolicy
    logs: list[StepLog]
    stopped: str | None
    """Why it stopped early, in words; ``None`` if it did not."""
    notes: list[str]
    """What a reader should know, in sentences: damaged checkpoints that were passed over."""


@dataclass(frozen=True, slots=True)
class _Signal:
    """What a batch of rewards says about each token."""

    advantage_BT: torch.Tensor
    return_BT: torch.Tensor
    """For a critic; 0 without one."""
    unit: float
    """Reward that an advantage of 1 stands for, the same for the whole batch."""


Measure = Callable[[int, HFPolicy], str | None]
"""Called with the step and the policy; a text is a reason to stop."""


def optimize_policy(
    reference: HFPolicy,
    scorer: Scorer,
    prompts: Sequence[Prompt],
    *,
    config: PolicyGradientConfig,
    sampler: SamplerConfig,
    seed: int,
    measure: Measure,
    shaping: Sequence[Shaper] = (),
    drawing: Drawing | None = None,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> Optimized:
    """A copy of ``reference`` pushed against ``scorer``; ``reference`` itself stays as it is.

    Parameters
    ----------
    prompts : sequence of prompts
        For training; each is drawn once before any is drawn again.
    shaping : sequence of shapers
        From raw scores to rewards, in order; raw scores are logged whatever they become. Those that drift see each
        batch before they shape it; give a :class:`~overopt.rewards.shaping.CurrentShapers`, which is kept up to date,
        where something else is to shape as the run does.
    drawing : Drawing, optional
        Draws and scores in place of ``scorer``, which then only names what is optimised: episodes of many turns.
    measure : callable
        At step 0, as often as the settings say, and at the end, on whatever prompts it holds out.
    checkpoints : Path, optional
        Folder of checkpoints; a run that finds one of its own there goes on from it.

    Raises
    ------
    ConfigError
        If there are fewer prompts than a step needs, the sampler truncates (a policy that is trained must be able to
        say everything), or the folder holds another run.
    DataError
        If the scorer returns another number of scores than it was asked for.
    NonFiniteError
        Before the optimiser's step, if a reward, the loss or the gradient is not finite; the batch is saved beside the
        checkpoints.

    Whatever is raised, the state after the last whole step is saved first where a folder is given.
    """
    if sampler.settings.is_truncated:
        raise ConfigError(
            "a policy is trained on the distribution it is sampled from, which top_p and top_k would cut: its gradient "
            "and its KL belong to the whole distribution; set top_p to 1 and top_k to none"
        )
    if len(prompts) < config.prompts_per_step:
        raise ConfigError(f"rl.prompts_per_step is {config.prompts_per_step}, but there are {len(prompts)} prompts")
    run = _Run(reference, scorer, prompts, config, sampler, seed, shaping, drawing, checkpoints)
    return run.go(measure, progress)


class _Run:
    """The state of a run and its one loop."""

    def __init__(
        self,
        reference: HFPolicy,
        scorer: Scorer,
        prompts: Sequence[Prompt],
        config: PolicyGradientConfig,
        sampler: SamplerConfig,
        seed: int,
        shaping: Sequence[Shaper],
        drawing: Drawing | None,
        folder: Path | None,
    ) -> None:
        self.config, self.prompts, self.seed = config, prompts, seed
        self.drawing: Drawing = self._draw if drawing is None else drawing
        self.processes = Processes.join()
        if config.prompts_per_step < self.processes.count:
            raise ConfigError(
                f"rl.prompts_per_step is {config.prompts_per_step}, fewer than the {self.processes.count} processes"
            )
        policy = trainable_copy(reference, config, seed=seed)
        critic = Critic(policy.model, has_body=config.critic == "model") if config.algorithm == "ppo" else None
        kind = policy.model.device.type
        self.shaping = shaping if isinstance(shaping, CurrentShapers) else CurrentShapers(shaping)
        self.shaping.now = self.shaping.begun
        self.engine = Engine(
            policy=policy, reference=reference, critic=critic, scorer=scorer, shaping=self.shaping, sampler=sampler,
            places=config.places, precision=partial(products, config.precision, kind),
        )  # fmt: skip
        self.kl_coef = config.kl_coef
        self.logs: list[StepLog] = []
        self.is_between_steps = True
        self.n_measured = 0
        """The step after the last that was measured."""
        groups = [
            {"params": [p for p in policy.model.parameters() if p.requires_grad], "base_lr": config.learning_rate}
        ]
        if critic is not None:
            groups.append({"params": list(critic.trained()), "base_lr": config.critic_rate})
        self.optimizer = torch.optim.AdamW(
            groups, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=config.weight_decay
        )
        self.checkpoints = None if folder is None else Checkpoints(folder, self._identity(reference, scorer))

    def go(self, measure: Measure, progress: Progress | None) -> Optimized:
        config, found = self.config, self._resume()
        stopped, notes = (None, []) if found is None else (found.stopped, found.notes)
        n_done = len(self.logs)
        for step in range(n_done, config.steps + 1):
            if stopped is not None:
                break
            if step > n_done:
                self._step(step)
            if self.n_measured <= step and self._is_due(step):
                stopped = self._measure(measure, step)
            if step % config.checkpoint_every == 0 or step == config.steps or stopped is not None:
                self._save(stopped)
            if progress is not None and step > n_done:
                progress(step, config.steps, "steps")
        return Optimized(self.engine.policy, self.logs, stopped, notes)

    def _is_due(self, step: int) -> bool:
        before, own = (math.sqrt(max(self.logs[n - 1].kl, 0.0)) if n > 0 else 0.0 for n in (step - 1, step))
        return self.config.is_due(step, before, own)

    def _step(self, step: int) -> None:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * min(1.0, step / max(1, config.warm_up))
        numbers = numbers_of(step, len(self.prompts), config.prompts_per_step, self.seed, "rl", "prompts")
        # Places in the step name the random streams: a prompt that comes twice gets other replies.
        places = self.processes.share(range(config.prompts_per_step))
        try:
            draws = self.drawing(
                self.engine, [numbers[place] for place in places], group=config.group, step=step, seed=self.seed,
                numbers=places,
            )  # fmt: skip
            self._check_rewards(draws.raw_B, draws, step, f"rewards from {self.engine.scorer.name}")
            rollout = complete(self.engine, draws, step=step, seed=self.seed, numbers=places, total=self.processes.sum)
            self._check_rewards(rollout.shaped_B, draws, step, "shaped rewards")
            signal = self._signal(rollout)
            clip_fraction, norm = self._update(rollout, signal, step)
        except Exception:
            # Between two minibatches of a step the weights are those of no step.
            if self.is_between_steps:
                self._save()
            raise
        self.logs.append(self._log(rollout, signal.return_BT, step, clip_fraction, norm))
        self.shaping.now = tuple(rollout.shapers)
        self.is_between_steps = True
        if config.kl_target is not None:
            # Ziegler et al. 2019, section 2.2: proportional control with a bounded error, per reply.
            error = min(max(self.logs[-1].kl / config.kl_target - 1, -0.2), 0.2)
            self.kl_coef *= 1 + 0.1 * error

    def _draw(
        self, engine: Engine, chosen: Sequence[int], *, group: int, step: int, seed: int, numbers: Sequence[int]
    ) -> Draws:
        return draw(engine, [self.prompts[n] for n in chosen], group=group, step=step, seed=seed, numbers=numbers)

    def _check_rewards(self, reward_B: FloatArray, draws: Draws, step: int, name: str) -> None:
        n_damaged = int((~np.isfinite(reward_B)).sum())
        if n_damaged:
            where = self._save_batch(step, draws, {"raw": draws.raw_B})
            raise NonFiniteError(f"{n_damaged} of {len(reward_B)} {name} of RL step {step} are not finite{where}")

    def _signal(self, rollout: Rollout) -> _Signal:
        config, mask_BT = self.config, rollout.mask_BT
        penalty_BT = torch.zeros_like(rollout.kl_BT, dtype=torch.float64)
        if self.kl_coef and config.kl_in != "loss":
            found_BT = kl_penalty(rollout.logprob_BT, rollout.reference_logprob_BT, rollout.kl_BT, config.kl_estimator)
            penalty_BT = torch.where(mask_BT, self.kl_coef * found_BT.double(), 0.0)
        # Log-probabilities are known to so many nats; divided by its own spread, their rounding would be a signal.
        rounding = self.kl_coef * LOGPROB_ERROR * math.sqrt(mask_BT.shape[1])
        score_B, return_BT, unit = torch.from_numpy(rollout.shaped_B), torch.zeros_like(rollout.value_BT), 1.0
        if config.algorithm == "ppo":
            advantage_BT, return_BT = generalised(
                at_last_token(score_B, mask_BT) - penalty_BT, rollout.value_BT.double(), mask_BT,
                gamma=config.gamma, lam=config.gae_lambda,
            )  # fmt: skip
        else:
            reward_B = score_B - penalty_BT.sum(1)
            if config.algorithm == "rloo":
                advantage_B = leave_one_out(reward_B, config.group)
            else:
                by_sd = config.algorithm == "grpo" and config.scale_by_sd
                advantage_B = group_normalised(reward_B, config.group, by_sd=by_sd, rounding=rounding)
            advantage_BT = torch.where(mask_BT, advantage_B[:, None], 0.0)
        if config.algorithm in ("ppo", "reinforce++"):
            advantage_BT, unit = batch_normalised(
                advantage_BT, mask_BT, moments=self.processes.moments, rounding=rounding
            )
        return _Signal(advantage_BT.float(), return_BT.float(), unit)

    def _update(self, rollout: Rollout, signal: _Signal, step: int) -> tuple[float, float]:
        """The passes over one batch; the share of clipped tokens and the mean gradient norm."""
        config = self.config
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        clipped, norms = 0.0, []
        for epoch in range(config.epochs):
            order = stream(self.seed, "rl", "minibatches", step, epoch).permutation(config.prompts_per_step)
            for places in np.array_split(order, config.minibatches):
                # However many processes there are, a minibatch has the same prompts.
                groups = self.processes.shared(places)
                members = (groups[:, None] * config.group + np.arange(config.group)).ravel()
                total, n_clipped = self._accumulate(rollout, signal, members)
                total = self.processes.sum(total)
                clipped += n_clipped
                self.processes.sum_gradients(parameters)
                norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.max_gradient))
                if not math.isfinite(total + norm):
                    self._refuse(rollout, members, step, total, norm)
                norms.append(norm)
                self.is_between_steps = False
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
        n_tokens = self.processes.sum(float(rollout.mask_BT.sum()))
        return self.processes.sum(clipped) / (config.epochs * n_tokens), float(np.mean(norms))

    def _accumulate(self, rollout: Rollout, signal: _Signal, members: np.ndarray) -> tuple[float, float]:
        """Gradients of one minibatch, in parts that fit; its loss and how many tokens were clipped."""
        config, engine = self.config, self.engine
        model, device = engine.policy.model, engine.policy.model.device
        lengths_B = rollout.mask_BT.sum(1)
        if config.average == "token":
            weight_B = torch.full((len(lengths_B),), 1 / self.processes.sum(float(lengths_B[members].sum())))
        else:
            weight_B = 1 / (self.processes.sum(float(len(members))) * lengths_B)
        weight_BT = weight_B.float()[:, None] * rollout.mask_BT
        needs_kl = self.kl_coef > 0 and config.kl_in != "reward"
        total, clipped = 0.0, 0.0
        # Activations are dropped in training mode only; without dropout that mode changes no number.
        self._train(config.gradient_checkpointing)
        for part in rollout.packed.parts(config.places, members):
            tokens = part.to(device)
            weight_K = tokens.of(weight_BT)
            with engine.precision():
                hidden_KD = hidden_states(model, tokens)
                if needs_kl or config.entropy_coef:
                    exact = engine.reference.model if needs_kl and config.kl_estimator == "exact" else None
                    found = token_statistics(model, exact, tokens, engine.sampler.settings, hidden_KD=hidden_KD)
                    logprob_K = found.logprob
                else:
                    logprob_K = token_logprobs(model, tokens, engine.sampler.settings, hidden_KD=hidden_KD)
                loss, n_clipped = clipped_surrogate(
                    logprob_K, tokens.of(rollout.logprob_BT), tokens.of(signal.advantage_BT), weight_K,
                    clip=config.clip, clip_high=config.clip_high or config.clip,
                )  # fmt: skip
                if needs_kl:
                    reference_K = tokens.of(rollout.reference_logprob_BT)
                    penalty_K = kl_penalty(logprob_K, reference_K, found.kl, config.kl_estimator)
                    loss = loss + self.kl_coef / signal.unit * (weight_K * penalty_K).sum()
                if config.entropy_coef:
                    loss = loss - config.entropy_coef / signal.unit * (weight_K * found.entropy).sum()
                if engine.critic is not None:
                    values_K = engine.critic(tokens, hidden_KD)
                    loss = loss + config.value_coef * value_loss(
                        values_K,
                        tokens.of(rollout.value_BT),
                        tokens.of(signal.return_BT),
                        weight_K,
                        clip=config.value_clip,
                    )
            loss.backward()
            total += float(loss.detach())
            clipped += float(n_clipped)
        self._train(False)
        return total, clipped

    def _train(self, is_training: bool) -> None:
        self.engine.policy.model.train(is_training)
        if self.engine.critic is not None:
            self.engine.critic.train(is_training)

    def _refuse(self, rollout: Rollout, members: np.ndarray, step: int, total: float, norm: float) -> None:
        draws = Draws(rollout.prompts, [rollout.replies[member] for member in members], rollout.raw_B[members])
        logprobs = {"logprob": rollout.logprob_BT, "reference_logprob": rollout.reference_logprob_BT}
        sums = {name: table_BT[members].sum(1).numpy() for name, table_BT in logprobs.items()}
        where = self._save_batch(step, draws, {"raw": draws.raw_B, "shaped": rollout.shaped_B[members], **sums})
        raise NonFiniteError(
            f"the loss ({total:.3g}) or gradient ({norm:.3g}) of RL step {step} is not finite; nothing was stepped "
            f"with it{where}; look at its rewards, or lower rl.learning_rate (it is {self.config.learning_rate})"
        )

    def _save_batch(self, step: int, draws: Draws, numbers: Mapping[str, FloatArray]) -> str:
        """Keep what was refused, and say where."""
        if self.checkpoints is None:
            return ""
        name = f"not-finite-step-{step:06d}" + ("" if self.processes.count == 1 else f"-process-{self.processes.index}")
        return f"; the replies are in {self.checkpoints.save_batch(name, draws.prompts, draws.replies, numbers)}"

    def _log(self, rollout: Rollout, return_BT: torch.Tensor, step: int, clip_fraction: float, norm: float) -> StepLog:
        mask_BT = rollout.mask_BT
        k3_BT = kl_penalty(rollout.logprob_BT, rollout.reference_logprob_BT, rollout.kl_BT, "k3")
        values = {
            "reward": rollout.raw_B,
            "shaped": rollout.shaped_B,
            "kl": rollout.kl_BT.sum(1).double().numpy(),
            "k3": torch.where(mask_BT, k3_BT, 0.0).sum(1).double().numpy(),
            "entropy": rollout.entropy_BT.sum(1).double().numpy(),
            "length": mask_BT.sum(1).numpy(),
            "truncated": np.array([not reply.finished for reply in rollout.replies]),
        }
        n_replies = self.processes.sum(float(len(rollout.replies)))
        means = {name: self.processes.sum(float(value_B.sum())) / n_replies for name, value_B in values.items()}
        squares = torch.where(mask_BT, rollout.value_BT - return_BT, 0.0).square().sum()
        value_error = math.sqrt(self.processes.sum(float(squares)) / self.processes.sum(float(mask_BT.sum())))
        return StepLog(
            step=step, kl_coef=self.kl_coef, clip_fraction=clip_fraction, gradient_norm=norm,
            value_error=math.nan if self.engine.critic is None else value_error, **means,
        )  # fmt: skip

    def _measure(self, measure: Measure, step: int) -> str | None:
        """On the first process; what it decides holds for all."""
        try:
            reason = measure(step, self.engine.policy) if self.processes.is_first else None
        except Exception:
            self._save()
            raise
        self.n_measured = step + 1
        return self.processes.agree(reason)

    def _save(self, stopped: str | None = None) -> None:
        """Keep the state after the last step, if there was one and anywhere to keep it."""
        if self.checkpoints is not None and self.processes.is_first and self.logs:
            # A longer or shorter run may have to measure where this one did not.
            self.checkpoints.save(self._state(), stopped, is_measurement_due=self.n_measured <= len(self.logs))

    def _identity(self, reference: HFPolicy, scorer: Scorer) -> dict[str, object]:
        """What a checkpoint must share with this run for the run to go on from it."""
        settings = asdict(self.config)
        # How long, how often and in which portions are free to change between calls.
        for name in ("steps", "checkpoint_every", "places"):
            del settings[name]
        return {
            "rl": settings,
            "sampler": asdict(self.engine.sampler),
            "seed": self.seed,
            "shaping": [repr(shaper) for shaper in self.shaping.begun],
            "reference": {"name": reference.name, "weights": fingerprint(reference.model)},
            "scorer": scorer.name,
            "prompts": hashlib.sha256("\0".join(map(prompt_text, self.prompts)).encode()).hexdigest(),
        }

    def _state(self) -> State:
        return State(
            policy=self.engine.policy.model, critic=self.engine.critic, optimizer=self.optimizer,
            kl_coef=self.kl_coef, logs=self.logs, shapers=self.shaping.now,
        )  # fmt: skip

    def _resume(self) -> Found | None:
        found = None if self.checkpoints is None else self.checkpoints.load_into(self._state())
        if found is None or not found.logs:
            return found
        if len(found.logs) > self.config.steps:
            raise ConfigError(
                f"rl.steps is {self.config.steps}, but its checkpoint is of step {len(found.logs)} already"
            )
        self.kl_coef, self.logs = found.kl_coef, [StepLog(**log) for log in found.logs]
        # A checkpoint without any is of a run whose shapers stay as they were.
        if found.shapers:
            self.shaping.restore(found.shapers)
        self.n_measured = len(self.logs) + (0 if found.is_measurement_due else 1)
        return found
