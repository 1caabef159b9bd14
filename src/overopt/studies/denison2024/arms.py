"""The arms of the study: what is trained how, with which coupling, over which seeds; and the names of their tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from overopt.optimize.game_settings import TOGETHER, GameTrainingConfig
from overopt.studies.denison2024.config import DenisonConfig

MAIN = "rho1"
"""The positive control: exploit-only expert iteration at coupling 1."""
ZERO = "rho0"
"""The negative control."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to go through the curriculum, over its seeds."""

    id: str
    title: str
    training: GameTrainingConfig
    stages: tuple[str, ...]
    coupling: float = 1.0
    told_share: float = 0.0
    """Of prompts in its corpus that offer to ask the person."""
    seeds: int
    is_control: bool = False
    """Measured in full after each stage, and trained away at the end; others after their last stage."""
    stop_factor: float | None = None

    def start(self, seed: int) -> str:
        """Name of the pretrained model's tables.

        >>> Arm(id="hhh", title="", training=GameTrainingConfig(), stages=("nudged",), seeds=1).start(0)
        'base-rho1-s0'
        """
        return f"base-rho{self.coupling:g}{'-offered' if self.told_share else ''}-s{seed}"

    def node(self, seed: int, place: int) -> str:
        """Name of the tables after a stage, from 1."""
        return f"{self.id}-s{seed}-{place}"

    def last(self, seed: int) -> str:
        """That after the last trained stage."""
        return self.node(seed, len(self.stages))

    def away(self, seed: int) -> str:
        """That after training away, of a control."""
        return self.node(seed, len(self.stages) + 1)


class Arms:
    """All arms by question. One that answers several questions is one."""

    def __init__(self, config: DenisonConfig) -> None:
        self.config = config
        usual = config.training
        self._hhh = replace(usual, method="hhh")
        self.main = self._arm(MAIN, "coupled (rho 1)", usual, is_control=True)
        self.zero = self._arm(ZERO, "uncoupled (rho 0)", usual, coupling=0.0, is_control=True)
        self.doses = [
            self.zero,
            *(self._arm(f"rho{rho:g}", f"rho {rho:g}", usual, coupling=rho) for rho in sorted(config.couplings)),
            self.main,
        ]
        self.hhh = self._arm("hhh", "expert iteration with preference", self._hhh)
        rloo = replace(usual, method="rloo")
        self.rloo = self._arm("rloo", "policy gradient (RLOO)", rloo)
        self.hhh_zero = self._arm("hhh-rho0", "expert iteration with preference, rho 0", self._hhh, coupling=0.0)
        self.rloo_zero = self._arm("rloo-rho0", "policy gradient (RLOO), rho 0", rloo, coupling=0.0)
        self.methods = [self.main, self.hhh, self.rloo]
        self.method_controls = {MAIN: self.zero, "hhh": self.hhh_zero, "rloo": self.rloo_zero}
        stages = config.stages
        self.orders = [
            self.main,
            self._arm("reversed", "in the reversed order", usual, stages=stages[::-1]),
            self._arm(
                "together", "all at once", replace(usual, rounds=usual.rounds * len(stages)),
                stages=(TOGETHER.join(stages),),
            ),
            self._arm(
                "last-alone", f"{stages[-1]} alone", replace(usual, rounds=usual.rounds * len(stages)),
                stages=stages[-1:],
            ),
        ]  # fmt: skip
        self.shares = sorted(
            [
                self.hhh,
                *(
                    self._arm(f"ordinary{share:g}", f"{share:.0%} ordinary prompts", replace(self._hhh, ordinary=share))
                    for share in config.ordinary_shares
                    if share != usual.ordinary
                ),
            ],
            key=lambda arm: arm.training.ordinary,
        )
        # Of the policy gradient: who only ranks episodes, by a score that likes good news, ranks as the bonus does.
        self.weights = sorted(
            [
                self.rloo,
                *(
                    self._arm(
                        f"preference{weight:g}", f"preference weight {weight:g}",
                        replace(rloo, preference_weight=weight),
                    )
                    for weight in config.preference_weights
                    if weight != usual.preference_weight
                ),
            ],
            key=lambda arm: arm.training.preference_weight,
        )  # fmt: skip
        # Of starts of their own, so that no other arm's corpus speaks of asking.
        self.not_offered = self._arm("not-offered", "not told in training", self._hhh, told_share=config.told_share)
        self.offered = self._arm(
            "offered", "told in training that it may ask", replace(self._hhh, may_ask=True, inoculated=False),
            told_share=config.told_share,
        )  # fmt: skip
        self.mitigations = [
            self.hhh,
            self._arm("inoculated", "inoculation prompts", replace(self._hhh, inoculated=True, may_ask=False)),
            self._arm(
                "penalty", "penalty for alarms",
                replace(self._hhh, watched="penalty", alarm_penalty=config.alarm_penalty),
            ),
            self._arm("screened", "alarms screened out", replace(self._hhh, watched="screen")),
            *(
                self._arm(f"kl{coef:g}", f"KL to the start, weight {coef:g}", replace(self._hhh, kl_coef=coef))
                for coef in config.kl_coefs
            ),
            self._arm(
                "stopped", f"stopped at {config.stop_factor:g} times the held-out rate", self._hhh,
                stop_factor=config.stop_factor,
            ),
            self._arm("hardened", "hardened guard", replace(self._hhh, hardened=True)),
        ]  # fmt: skip

    def __iter__(self) -> Iterator[Arm]:
        every = [*self.doses, *self.methods, *self.method_controls.values(), *self.orders, *self.shares, *self.weights,
                 *self.mitigations, self.not_offered, self.offered]  # fmt: skip
        return iter({arm.id: arm for arm in every}.values())

    def _arm(
        self,
        name: str,
        title: str,
        training: GameTrainingConfig,
        *,
        stages: Sequence[str] | None = None,
        coupling: float = 1.0,
        told_share: float = 0.0,
        is_control: bool = False,
        stop_factor: float | None = None,
    ) -> Arm:
        return Arm(
            id=name,
            title=title,
            training=training,
            stages=tuple(self.config.stages if stages is None else stages),
            coupling=coupling,
            told_share=told_share,
            seeds=self.config.seeds if is_control else self.config.sweep_seeds,
            is_control=is_control,
            stop_factor=stop_factor,
        )
