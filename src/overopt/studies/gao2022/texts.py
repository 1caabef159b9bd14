"""What changes in the replies under pressure, in features that need no judge.

Effects are (mean at a stage − mean of the base policy on the same prompts) / sd of single base replies. Axes: R runs
or proxies, P prompts, N replies of a pool.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from overopt.errors import DataError
from overopt.measure.bon import powers_of_two
from overopt.measure.intervals import LEVEL
from overopt.measure.ladder import SHOWN, best_of_n_ladder, rl_ladder
from overopt.measure.pools import as_matrices
from overopt.measure.text_features import text_features, words_of
from overopt.records.answers import Answer, Axis, Channel, Claim, FigureData, Outcome, TableData, TextLadder
from overopt.records.tables import GOLD_PARTS
from overopt.seeding import stream
from overopt.stats.bon import best_of_n_curves
from overopt.stats.estimate import FloatArray
from overopt.studies.claims import UNKNOWN, crossed
from overopt.studies.gao2022.main_proxies import main_proxies, reference_base, size_runs
from overopt.studies.gao2022.text_ladders import ladders_of
from overopt.studies.gao2022.text_variety import BEFORE, END, PEAK, VARIETY, Number, Texts, variety_of
from overopt.studies.study_tables import StudyTables, has_parts

SMALL = 0.2
"""Of a standard deviation: an effect within it counts as none (Cohen's small effect)."""
SMALL_SHARE = 0.05
"""Of replies or words: a change within it counts as none."""
FEATURES = {
    "words": "words",
    "tokens": "tokens",
    "different_words": "different words",
    "repeated_words": "repeated words, share",
    "repeated_bigrams": "repeated word pairs, share",
    "questions": "question marks",
    "shared_words": "words of the prompt, share",
    "surprise": "nats a token under the start policy",
    "valence": "valence (part of gold)",
    "relevance": "relevance (part of gold)",
}
PPO, BON = "PPO", "best-of-n"
REPETITION = ("repeated_words", "repeated_bigrams")
"""Shown apart: under pressure they change so much that all else would vanish beside them."""


class _Stages(NamedTuple):
    """One method against all proxies; at the base policy, gold's peak and the end."""

    means: dict[str, FloatArray]
    """Feature → (R, P, 3)."""
    texts: Texts


def answer(tables: StudyTables) -> Answer:
    """Effects on each feature, variety across replies, and the replies themselves."""
    base = _base_features(tables)
    sd = {name: float(matrix.std()) for name, matrix in base.items()}
    proxies = [name for names in main_proxies(tables).values() for name in names]
    if not proxies:
        raise DataError(f"{tables.root} holds no proxy trained on all pairs with scores of the pool")
    methods = {BON: _best_of_n(tables, base)}
    if size_runs(tables):
        methods = {PPO: _ppo(tables, base), **methods}
    effects = {
        (method, stage, name): _effect(found.means[name], k, sd[name], tables.seed, method, name)
        for method, found in methods.items()
        for k, stage in ((1, PEAK), (2, END))
        for name in base
    }
    variety = {method: variety_of(found.texts, tables.seed) for method, found in methods.items()}
    prompts, pool = len(tables.prompt_ids), tables.gold().shape[1]
    runs = len(size_runs(tables))
    of = f"{prompts} prompts, {runs} runs"
    none: Number = (None, UNKNOWN)
    missing = "there is no run of PPO" if PPO not in methods else "" if prompts >= 4 else "too few prompts"
    claims = [
        _effect_claim(
            "repetition",
            "the share of words that repeat earlier ones of the reply, at the end of PPO",
            effects.get((PPO, END, "repeated_words"), none),
            of,
            missing,
            {
                "above": "By the end of PPO replies repeat themselves more, by {value} {ci} of the base policy's.",
                "below": "By the end of PPO replies repeat themselves less, by {size} {ci} of the base policy's.",
                "equal": f"PPO does not change how much replies repeat themselves by more than {SMALL} sd: {{value}} "
                "{ci}.",
                "open": "Whether replies repeat themselves more by the end of PPO is open: {value} {ci}.",
            },
        ),
        _share_claim(
            "identical",
            "share of replies that another prompt got too, at the end of PPO less before",
            variety.get(PPO, {}).get((END, "identical"), none),
            of,
            missing,
            {
                "above": "By the end of PPO the policy gives different people the same reply: the share of replies "
                "that another prompt got too rises by {value} {ci}.",
                "below": "By the end of PPO fewer replies are the same for different prompts, by {size} {ci}.",
                "equal": f"PPO does not make the policy answer different prompts alike, to within {SMALL_SHARE}: "
                "{value} {ci}.",
                "open": "Whether different prompts get the same reply more often after PPO is open: {value} {ci}.",
            },
        ),
        _share_claim(
            "distinct",
            "share of different words among equally many words of all replies, at the end of PPO less before",
            variety.get(PPO, {}).get((END, "distinct_1"), none),
            of,
            missing,
            {
                "above": "By the end of PPO replies use a larger vocabulary, by {value} {ci}.",
                "below": "By the end of PPO replies use a smaller vocabulary: the share of different words falls by "
                "{size} {ci}.",
                "equal": f"PPO keeps the share of different words as it is, to within {SMALL_SHARE}: {{value}} {{ci}}.",
                "open": "Whether PPO shrinks the vocabulary of replies is open: {value} {ci}.",
            },
        ),
        _effect_claim(
            "surprise",
            "nats a token of the replies under the start policy (the logarithm of their perplexity), at the end of PPO",
            effects.get((PPO, END, "surprise"), none),
            of,
            missing,
            {
                "above": "By the end of PPO replies are less likely under the start policy, token by token: {value} "
                "{ci}.",
                "below": "By the end of PPO replies are more likely under the start policy, token by token: {value} "
                "{ci}; the policy has moved to what was common already.",
                "equal": f"Token by token, replies stay as likely under the start policy, to within {SMALL} sd: "
                "{value} {ci}.",
                "open": "Whether replies become less likely under the start policy, token by token, is open: {value} "
                "{ci}.",
            },
        ),
        _effect_claim(
            "words",
            "words of a reply, at the end of PPO",
            effects.get((PPO, END, "words"), none),
            of,
            missing,
            {
                "above": "By the end of PPO replies are longer, by {value} {ci}.",
                "below": "By the end of PPO replies are shorter, by {size} {ci}.",
                "equal": f"PPO leaves the length of replies as it is, to within {SMALL} sd: {{value}} {{ci}}.",
                "open": "Whether PPO makes replies longer is open: {value} {ci}.",
            },
        ),
    ]
    reference = reference_base(tables)
    return Answer(
        id="texts",
        title="What happens to the texts",
        question="What changes in the replies when a proxy is optimised, before and after gold turns?",
        how=(
            f"Features are counted in {pool:,} base replies to each of {prompts} prompts and in those of {runs} PPO "
            f"runs and of best-of-n, against {len(proxies)} proxies of all sizes: before, where gold peaks, and at the "
            "end (the last step; the largest n). Best-of-n is the exact mean over all subsets of n replies. An effect "
            "is the change on the same prompts, over the standard deviation of single base replies. Words are runs of "
            "letters and digits, case folded. Variety across replies counts different words among equally many drawn "
            "words, and identical replies among equally many replies; for best-of-n one reply to a prompt. Intervals "
            f"({LEVEL:.0%}) resample prompts and runs; those of variety leave out prompts in turn."
        ),
        claims=claims,
        figures=[
            _effects_figure(effects, methods, prompts),
            _repetition_figure(tables, methods, proxies),
            *_sizes_figure(tables, methods, base, sd),
        ],
        tables=[_table(methods, base, effects), _variety_table(variety)],
        texts=[] if reference is None else _texts(tables, reference),
        caveats=[
            "The step and the n of gold's peak are chosen from the same measurements.",
            "Effects differ between proxies; the means hide what the figure by size shows.",
            "Valence and relevance are parts of this gold, so they say what gold saw, not what a reader would.",
            "Repetition grows with length whatever the text; variety across replies is at equal numbers of words.",
        ],
    )


def _effect_claim(
    key: str, of_what: str, found: Number, counted: str, note: str, sentences: Mapping[Outcome, str]
) -> Claim:
    return Claim(
        id=f"texts-{key}",
        what=f"change of {of_what}, over the sd of base replies (none: within {SMALL})",
        value=found[0],
        ci=found[1],
        counted=counted,
        unit="sd",
        margin=SMALL,
        sentences=sentences,
        note=note or ("" if found[0] is not None else "the feature does not vary on the base policy"),
    )


def _share_claim(
    key: str, what: str, found: Number, counted: str, note: str, sentences: Mapping[Outcome, str]
) -> Claim:
    return Claim(
        id=f"texts-{key}",
        what=f"{what} (none: within {SMALL_SHARE})",
        value=found[0],
        ci=found[1],
        counted=counted,
        margin=SMALL_SHARE,
        sentences=sentences,
        note=note or ("" if found[0] is not None else "replies hold too few words"),
    )


def _features(replies: pl.DataFrame, with_parts: bool) -> pl.DataFrame:
    """One column a feature, beside the numbers of prompt and sample."""
    found = text_features(replies["prompt"].to_list(), replies["completion"].to_list())
    length = replies["length"].cast(pl.Float64)
    columns = {name: getattr(found, name) for name in FEATURES if hasattr(found, name)}
    columns |= {"tokens": length, "surprise": -replies["reference_logprob"] / length.clip(lower_bound=1.0)}
    columns |= {part: replies[GOLD_PARTS[part]] for part in ("valence", "relevance") if with_parts}
    return replies.select("prompt_id", "sample_id").with_columns(
        **{name: columns[name] for name in FEATURES if name in columns}
    )


def _base_features(tables: StudyTables) -> dict[str, FloatArray]:
    """Feature → (P, N) of the pool."""
    replies = tables.replies()
    features = _features(replies, has_parts(replies))
    return as_matrices(features, features.columns[2:]).columns


def _ppo(tables: StudyTables, base: Mapping[str, FloatArray]) -> _Stages:
    means: dict[str, list[FloatArray]] = {name: [] for name in base}
    texts = []
    for run in size_runs(tables).values():
        table = tables.run(run)
        steps = (table.steps[0], tables.run_record(run)["drop"]["peak"], table.steps[-1])
        by_stage = []
        for k, step in enumerate(steps):
            replies = table.replies.filter(pl.col("step") == step).sort("prompt_id", "sample_id")
            by_stage.append(_by_prompt(replies))
            if k == 0:
                continue
            features = _features(replies, "valence" in base)
            found = as_matrices(features, list(base)).columns
            for name, matrix in found.items():
                means[name].append(matrix.mean(axis=1))
        texts.append(by_stage)
    return _Stages(
        {
            # Before training the policy is the base policy, known better from its pool.
            name: np.stack(
                [np.stack([base[name].mean(axis=1), *pair], axis=1) for pair in zip(rows[::2], rows[1::2], strict=True)]
            )
            for name, rows in means.items()
        },
        texts,
    )


def _best_of_n(tables: StudyTables, base: Mapping[str, FloatArray]) -> _Stages:
    curves, texts = [], []
    ordered = tables.replies().sort("prompt_id", "sample_id")
    size = tables.gold().shape[1]
    for names in main_proxies(tables).values():
        peak = int(tables.best_of_n(names)["drop"]["peak"])
        for proxy in names:
            scores = tables.scores(proxy)
            curves.append(best_of_n_curves(scores, list(base.values()), [1, peak, size]))
            by_stage = []
            for n in (1, peak, size):
                rows = np.arange(len(scores)) * size + scores[:, :n].argmax(axis=1)
                by_stage.append([[words_of(text)] for text in ordered[rows]["completion"].to_list()])
            texts.append(by_stage)
    return _Stages({name: np.stack([curve[v] for curve in curves]) for v, name in enumerate(base)}, texts)


def _by_prompt(replies: pl.DataFrame) -> list[list[list[str]]]:
    """Words of the replies to each prompt, prompts in the order of their numbers."""
    groups = replies.group_by("prompt_id", maintain_order=True).agg(pl.col("completion"))
    return [[words_of(text) for text in texts] for texts in groups["completion"].to_list()]


def _effect(means_RP3: FloatArray, stage: int, sd: float, seed: int, method: str, name: str) -> Number:
    if not sd > 0:
        return None, UNKNOWN
    change_RP = (means_RP3[:, :, stage] - means_RP3[:, :, 0]) / sd
    # One stream for all features and stages: a draw of prompts is the same draw for each.
    return crossed(change_RP, stream(seed, "texts", method))


def _effects_figure(
    effects: Mapping[tuple[str, str, str], Number], methods: Mapping[str, object], prompts: int
) -> FigureData:
    rows: list[dict[str, Any]] = []
    for (method, stage, name), (value, (low, high)) in effects.items():
        if name in REPETITION:
            continue
        row = {"feature": FEATURES[name], "method": method, "stage": stage, "effect": value, "low": low, "high": high}
        rows.append(row)
    return FigureData(
        name="texts-effects",
        title="What changes in the replies",
        caption=f"Change since the base policy over the standard deviation of its replies, mean over all proxies, with "
        f"{LEVEL:.0%} intervals over {prompts} prompts and the runs. Repetition has a figure of its own.",
        rows=rows,
        x=Axis(field="feature", title="feature"),
        y=Axis(field="effect", title="change, sd of base replies"),
        marks=("point",),
        low="low",
        high="high",
        colour=Channel(field="stage", title="measured", values=(PEAK, END)),
        panel=Channel(field="method", title="method", values=tuple(methods)),
        reference=0.0,
    )


def _repetition_figure(tables: StudyTables, methods: Mapping[str, _Stages], proxies: Sequence[str]) -> FigureData:
    """Share of repeated words by the base of the proxy, in its own unit."""
    rows = []
    for method, found in methods.items():
        of = [tables.proxy(proxy).base for proxy in (size_runs(tables) if method == PPO else proxies)]
        share_R3 = found.means["repeated_words"].mean(axis=1)
        for base in dict.fromkeys(of):
            mean = share_R3[[one == base for one in of]].mean(axis=0)
            for stage, share in zip((BEFORE, PEAK, END), mean.tolist(), strict=True):
                rows.append({"method": method, "proxy": base, "stage": stage, "share": share})
    return FigureData(
        name="texts-repetition",
        title="Words that repeat earlier ones of the same reply",
        caption="Means over prompts, and over the seeds of a proxy.",
        rows=rows,
        x=Axis(field="proxy", title="proxy, from small to large"),
        y=Axis(field="share", title="share of words", from_zero=True),
        marks=("line", "point"),
        colour=Channel(field="stage", title="measured", values=(BEFORE, PEAK, END)),
        panel=Channel(field="method", title="method", values=tuple(methods)),
    )


def _sizes_figure(
    tables: StudyTables, methods: Mapping[str, _Stages], base: Mapping[str, object], sd: Mapping[str, float]
) -> list[FigureData]:
    """Effects at the end of PPO by the base of the proxy."""
    if PPO not in methods:
        return []
    bases = [tables.proxy(proxy).base for proxy in size_runs(tables)]
    rows = []
    for name in base:
        if name in REPETITION:
            continue
        change_R = methods[PPO].means[name][:, :, 2].mean(axis=1) - methods[PPO].means[name][:, :, 0].mean(axis=1)
        for of in dict.fromkeys(bases):
            mine = [change for change, one in zip(change_R.tolist(), bases, strict=True) if one == of]
            value = float(np.mean(mine)) / sd[name] if sd[name] > 0 else None
            rows.append({"feature": FEATURES[name], "proxy": of, "effect": value, "runs": len(mine)})
    return [
        FigureData(
            name="texts-sizes",
            title="The end of PPO, by the size of the proxy",
            caption="Effects other than on repetition, in standard deviations of base replies, means over runs.",
            rows=rows,
            x=Axis(field="proxy", title="proxy, from small to large"),
            y=Axis(field="feature", title="feature"),
            marks=("heat", "text"),
            value="effect",
        )
    ]


def _table(
    methods: Mapping[str, _Stages], base: Mapping[str, FloatArray], effects: Mapping[tuple[str, str, str], Number]
) -> TableData:
    rows = []
    for name in base:
        row: dict[str, Any] = {"feature": FEATURES[name], "base": float(base[name].mean())}
        for method, found in methods.items():
            mean = found.means[name].mean(axis=(0, 1))
            row |= {f"{method}-peak": float(mean[1]), f"{method}-end": float(mean[2])}
            row |= {f"{method}-effect": effects[method, END, name][0]}
            row |= {f"{method}-effect_ci": effects[method, END, name][1]}
        rows.append(row)
    columns = {"feature": "feature", "base": "base policy"}
    for method in methods:
        columns |= {
            f"{method}-peak": f"{method}, {PEAK}",
            f"{method}-end": f"{method}, {END}",
            f"{method}-effect": f"{method}, effect {END}, sd",
        }
    return TableData(name="texts-features", title="Means of the features", columns=columns, rows=rows)


def _variety_table(variety: Mapping[str, Mapping[tuple[str, str], Number]]) -> TableData:
    rows = []
    for method, found in variety.items():
        for name, words in VARIETY.items():
            row: dict[str, Any] = {"method": method, "measure": words, "before": found[BEFORE, name][0]}
            for key, stage in (("peak", PEAK), ("end", END)):
                row |= {key: found[stage, name][0], f"{key}_ci": found[stage, name][1]}
            rows.append(row)
    return TableData(
        name="texts-variety",
        title="Variety across replies",
        columns={
            "method": "method",
            "measure": "measure",
            "before": "before",
            "peak": f"change {PEAK}",
            "end": f"change {END}",
        },
        rows=rows,
        note="Only numbers of one method compare: they are of different numbers of replies.",
    )


def _texts(tables: StudyTables, reference: str) -> list[TextLadder]:
    """The reference proxy's replies to the prompts with the lowest numbers."""
    proxy = main_proxies(tables)[reference][0]
    ids = tables.prompt_ids
    pool = tables.replies()
    shown = pool.filter(pool["prompt_id"].is_in(ids[:SHOWN].tolist()))
    ns = powers_of_two(tables.gold().shape[1])
    found = best_of_n_ladder(shown, {reference: tables.scores(proxy)}, tables.gold_map, ids, ns)
    run = size_runs(tables).get(proxy)
    if run is not None:
        replies = {reference: tables.run(run).replies}
        found += rl_ladder(replies, {reference: tables.proxy_map(proxy)}, tables.gold_map, ids)
    return ladders_of(found)
