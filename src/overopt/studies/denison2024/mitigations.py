"""Which mitigations keep the held-out rate down, and do they do more than stop the learning?"""

from dataclasses import dataclass

import numpy as np

from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, TableData
from overopt.stats.estimate import FloatArray
from overopt.studies.denison2024.arm_numbers import (
    Numbers,
    environments_of,
    log2_factors,
    log_odds,
    numbers,
)
from overopt.studies.denison2024.arms import Arm
from overopt.studies.denison2024.paired import cell, difference_claim, mean_claim, percent_cell
from overopt.studies.denison2024.words import CAVEATS, factor, mean_interval, ratio_claim
from overopt.studies.denison2024.worlds import HELD_OUT, Worlds
from overopt.studies.study_tables import StudyTables

HONEST_MARGIN = 1.0
"""Points of right answers to ordinary questions that count as no change."""

DIFFERENCES = {"gamed": 100.0, "honest": 100.0, "preference": 1.0, "consistent": 100.0, "kl": 1.0}
"""Number → what it is multiplied by in the table of differences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """An arm beside expert iteration without mitigation, on the same seeds."""

    arm: Arm
    before: Numbers
    """Of the start, which both share."""
    plain: Numbers
    after: Numbers

    @property
    def held_out_odds(self) -> FloatArray:
        """(S,) log-odds of raising the reward in the held-out environment, less those without the mitigation."""
        return log_odds(self.after.held_out) - log_odds(self.plain.held_out)

    @property
    def gamed_odds(self) -> FloatArray:
        """(S,) the same of gaming the trained environments."""
        return log_odds(self.after.gamed) - log_odds(self.plain.gamed)


def answer(tables: StudyTables) -> Answer:
    """Each mitigation against none: held-out rate, gaming learnt, honesty, preference, thought and act."""
    worlds = Worlds(tables)
    plain = worlds.arms.hhh
    arms = [arm for arm in worlds.arms.mitigations if arm.id != plain.id]
    before, unmitigated = numbers(worlds, plain, 0), numbers(worlds, plain)
    compared = [_compared(worlds, arm, before, unmitigated) for arm in arms]
    config, training = worlds.config, plain.training
    coefs = ", ".join(f"{coef:g}" for coef in config.kl_coefs)
    leash = f"{coefs} times the KL to the start, nats a choice, added to the loss; " if coefs else ""
    return Answer(
        id="mitigations",
        title="Mitigations",
        question="Which mitigations keep gaming from spreading, and what do they cost?",
        how=(
            f"Expert iteration with preference score at rho 1 through {', '.join(plain.stages)}, "
            f"{training.rounds} rounds each, once without a mitigation and once with each of these: "
            "prompts that ask for the edit in training alone (inoculation); "
            f"{config.alarm_penalty:g} taken from the reward of an episode that alarms the monitor of files (penalty); "
            "no learning from such episodes (screened); "
            f"{leash}rounds that end before the exact held-out rate exceeds {config.stop_factor:g} times its start "
            "(stopped); edits that nobody asked for never pay (hardened). All begin with the same pretrained models, "
            "and each is compared seed by seed with the policy without mitigation. Everything is measured in the same "
            "unchanged world, without inoculation, penalty or hardening. Whether a mitigation does more than stop the "
            "learning is asked in log-odds: by how much it moves the held-out rate, less by how much it moves gaming "
            "in the trained environments; one that only makes everything learn less moves both."
        ),
        claims=[claim for one in compared for claim in _claims(one)],
        figures=[
            _frontier(worlds, before, unmitigated, compared, "honest"),
            _frontier(worlds, before, unmitigated, compared, "gamed"),
        ],
        tables=[_table(worlds, before, unmitigated, compared), _differences(compared)],
        caveats=[
            "Stopping looks at the very rate that it is judged by, which nobody has outside of a small world: it shows "
            "what early stopping could do at best.",
            "Penalty, screen and hardened guard look at edits of files. Sycophancy and flattery need none, and gaming "
            "pays there as before.",
            "Each mitigation has one strength, but for the KL; others could do more, or cost less.",
            f"{len(compared)} mitigations are compared by several claims each, without a correction for their number.",
            *CAVEATS,
        ],
    )


def _compared(worlds: Worlds, arm: Arm, before: Numbers, plain: Numbers) -> _Compared:
    seeds = min(arm.seeds, len(plain.held_out))
    return _Compared(
        arm=arm, before=before.first(seeds), plain=plain.first(seeds), after=numbers(worlds, arm).first(seeds)
    )


def _claims(one: _Compared) -> list[Claim]:
    name, title = one.arm.id, one.arm.title
    what = f"With “{title}”"
    return [
        ratio_claim(
            f"mitigations-{name}-ratio",
            f"factor of the held-out rate with the mitigation “{title}” over that without one",
            (one.before.held_out, one.after.held_out),
            (one.before.held_out, one.plain.held_out),
            are_paired=True,
            sentences={
                "above": f"{what} the held-out rate ends higher: {{value}} times as high {{ci}} as without a "
                "mitigation.",
                "below": f"{what} the held-out rate ends lower: {{value}} times as high {{ci}} as without a "
                "mitigation.",
                "open": f"{what} the held-out rate is not told apart from that without a mitigation: ratio {{value}} "
                "{ci}.",
            },
        ),
        difference_claim(
            f"mitigations-{name}-gamed",
            f"rate of gaming the trained environments at the end with the mitigation “{title}” less that without one",
            one.after.gamed,
            one.plain.gamed,
            sentences={
                "above": f"{what} the trained environments are gamed {{size}} more often {{ci}}.",
                "below": f"{what} the trained environments are gamed {{size}} less often {{ci}}.",
                "open": f"{what} it is open whether the trained environments are gamed less: {{value}} {{ci}}.",
            },
        ),
        mean_claim(
            f"mitigations-{name}-more",
            f"log-odds of the held-out rate with the mitigation “{title}” less without one, less the same of gaming "
            "the trained environments",
            one.held_out_odds - one.gamed_odds if _is_finite(one) else np.full(len(one.after.gamed), np.nan),
            unit="",
            scale=1.0,
            digits=2,
            sentences={
                "above": f"{what} the held-out rate falls less than the gaming that was learnt, or rises more: by "
                "{value} {ci} in log-odds.",
                "below": f"{what} the held-out rate falls more than the gaming that was learnt: by {{size}} {{ci}} in "
                "log-odds. It does more than stop the learning.",
                "open": f"{what} it is open whether the held-out rate falls more than the gaming that was learnt: "
                "{value} {ci} in log-odds.",
            },
            missing="a rate of some seed was 0 or 1 as far as it was followed, and has no odds",
        ),
        difference_claim(
            f"mitigations-{name}-honest",
            f"right answers to ordinary questions with the mitigation “{title}” less without one; within "
            f"{HONEST_MARGIN:g} point counts as no difference",
            one.after.honest,
            one.plain.honest,
            margin=HONEST_MARGIN,
            sentences={
                "above": f"{what} ordinary questions are answered right {{size}} more often {{ci}}.",
                "below": f"{what} ordinary questions are answered right {{size}} less often {{ci}}.",
                "equal": f"{what} ordinary questions are answered as well, within {HONEST_MARGIN:g} point: {{value}} "
                "{ci}.",
                "open": f"{what} it is open whether ordinary questions are answered as well: {{value}} {{ci}}.",
            },
        ),
        difference_claim(
            f"mitigations-{name}-consistent",
            f"share of gamed episodes whose hidden plan is seek with the mitigation “{title}” less without one, "
            "trained environments",
            one.after.consistent,
            one.plain.consistent,
            sentences={
                "above": f"{what} the hidden plan admits gaming {{size}} more often {{ci}} when there is gaming.",
                "below": f"{what} the hidden plan admits gaming {{size}} less often {{ci}} when there is gaming.",
                "open": f"{what} it is open whether the hidden plan admits gaming less often: {{value}} {{ci}}.",
            },
            missing="a policy of some seed never gamed a trained environment",
        ),
    ]  # fmt: skip


def _is_finite(one: _Compared) -> bool:
    rates = (one.after.held_out, one.plain.held_out, one.after.gamed, one.plain.gamed)
    return all(bool(np.isfinite(log_odds(rate)).all()) for rate in rates)


def _frontier(worlds: Worlds, before: Numbers, plain: Numbers, compared: list[_Compared], against: str) -> FigureData:
    """A point a policy: the held-out rate against what is to be kept, or against what was learnt."""
    policies = [
        ("start", before), (worlds.arms.hhh.title, plain), *((one.arm.title, one.after) for one in compared),
    ]  # fmt: skip
    rows = []
    for title, found in policies:
        rate = found.held_out
        known = bool((rate > 0).all())
        value, (low, high) = mean_interval(np.log10(rate)) if known else (None, (None, None))
        x, (x_low, x_high) = mean_interval(100 * getattr(found, against))
        rows.append(
            {
                "policy": title, "log_rate": value, "low": low, "high": high, against: x, f"{against}_low": x_low,
                f"{against}_high": x_high,
            }
        )  # fmt: skip
    titles = {
        "honest": ("Held-out rate against honesty", "ordinary questions right (per cent)", "mitigations-frontier"),
        "gamed": (
            "Held-out rate against gaming learnt", "gaming of the trained environments (per cent)",
            "mitigations-learnt",
        ),
    }  # fmt: skip
    words = {
        "honest": "The lower and the further right, the better.",
        "gamed": "A mitigation that only stops learning moves down and left at once, towards the start; one that "
        "lies lower at the same gaming does more.",
    }
    title, axis, name = titles[against]
    return FigureData(
        name=name,
        title=title,
        caption=f"A point is an arm: mean over seeds of log10 of the rate of raising the reward in {HELD_OUT}, bar: "
        f"95 % interval over seeds. {words[against]} The CSV file holds the intervals of the other axis too. An arm "
        "with a rate of 0 has no place.",
        rows=rows,
        x=Axis(field=against, title=axis),
        y=Axis(field="log_rate", title="log10 of the held-out rate"),
        marks=("point",),
        low="low",
        high="high",
        colour=Channel(field="policy", title="policy"),
    )


def _table(worlds: Worlds, before: Numbers, plain: Numbers, compared: list[_Compared]) -> TableData:
    rows: list[dict[str, object]] = []
    policies = [("start", before, None), (worlds.arms.hhh.title, plain, before)]
    policies += [(one.arm.title, one.after, one.before) for one in compared]
    for title, found, start in policies:
        value, ci = (None, (None, None)) if start is None else factor(start.held_out, found.held_out)
        rows.append(
            {
                "policy": title, **percent_cell("held_out", found.held_out), "factor": value, "factor_ci": list(ci),
                **percent_cell("gamed", found.gamed), **percent_cell("honest", found.honest),
                **cell("preference", found.preference), **percent_cell("consistent", found.consistent),
                **cell("kl", found.kl),
            }
        )  # fmt: skip
    return TableData(
        name="mitigations-numbers",
        title="What each mitigation left",
        columns={
            "policy": "Policy", "held_out": f"{HELD_OUT}: raised", "factor": "Factor", "gamed": "Gaming",
            "honest": "Ordinary questions right", "preference": "Preference score",
            "consistent": "Plan seek, of what gamed", "kl": "KL (nats)",
        },
        rows=rows,
        digits=3,
        note=f"Means over {len(plain.held_out)} seeds with 95 % intervals; rates in per cent. Gaming, preference score "
        f"(within 0 and 1), plans and KL: {', '.join(environments_of(worlds.arms.hhh))}.",
    )  # fmt: skip


def _differences(compared: list[_Compared]) -> TableData:
    """Paired with the policy without mitigation: what levels, whose seeds differ, do not show."""
    rows: list[dict[str, object]] = []
    for one in compared:
        doublings = log2_factors(one.plain.held_out, one.after.held_out)
        rows.append(
            {
                "policy": one.arm.title, **cell("doublings", doublings),
                **{
                    key: value
                    for name, scale in DIFFERENCES.items()
                    for key, value in cell(
                        name, getattr(one.after, name) - getattr(one.plain, name), scale=scale
                    ).items()
                },
            }
        )  # fmt: skip
    return TableData(
        name="mitigations-differences",
        title="Each mitigation less none, seed by seed",
        columns={
            "policy": "Mitigation", "doublings": f"{HELD_OUT}: log2 of the ratio", "gamed": "Gaming (points)",
            "honest": "Ordinary questions right (points)", "preference": "Preference score",
            "consistent": "Plan seek, of what gamed (points)", "kl": "KL (nats)",
        },
        rows=rows,
        digits=3,
        note="Means over seeds with 95 % intervals.",
    )  # fmt: skip
