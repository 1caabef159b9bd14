"""A made-up study of six questions, as ``results.json`` holds it: each kind of figure, table and text occurs."""

import json
import math
import random
from typing import Any

from overopt.records.answers import (
    Answer,
    Axis,
    Channel,
    Claim,
    FigureData,
    Published,
    Sample,
    TableData,
    TextLadder,
)

Json = dict[str, Any]

SIZES = (4_600, 9_300, 18_096, 39_520, 103_424, 279_744)
PAIRS = (200, 800, 3_200, 12_800)
KINDS = (
    "one proxy",
    "mean of five",
    "worst of five (WCO)",
    "uncertainty-weighted (UWO)",
    "weights averaged (WARM)",
    "PAR shaping",
    "clipped at the 90th percentile",
    "length penalty",
)
SENTENCES = {
    "above": "It rises by {value} {ci}.",
    "below": "It falls by {size} {ci}.",
    "open": "Whether it rises or falls is open: {value} {ci}.",
    "equal": "It stays as it is: {value} {ci} is within the margin.",
}


def claim(name: str, value: float | None, ci: tuple[float | None, float | None], **more: Any) -> Claim:
    defaults: Json = {
        "what": "the change of gold from its peak to the largest n",
        "counted": "64 prompts, 2 seeds",
        "sentences": SENTENCES,
        "unit": "sd of gold",
    }
    return Claim(id=name, value=value, ci=ci, **(defaults | more))


def _curves(rng: random.Random) -> Answer:
    rows: list[Json] = []
    for method in ("best-of-n", "RL"):
        for index, size in enumerate(SIZES):
            for step in range(12):
                d = 0.25 * step if method == "best-of-n" else 0.8 * step
                beta = (0.24 - 0.03 * index) * (1 if method == "best-of-n" else 0.3)
                gold = d * (0.35 + 0.05 * index - beta * d) + rng.gauss(0, 0.01)
                error = 0.02 + 0.03 * d
                rows.append(
                    {
                        "size": size,
                        "method": method,
                        "n": 2**step,
                        "kl": d * d,
                        "gold": gold,
                        "low": gold - error,
                        "high": gold + error,
                    }
                )
    rows[3] |= {"gold": None}
    return Answer(
        id="size-sweep",
        title="Larger proxies",
        question="Does gold fall later when the proxy is larger?",
        how="Six proxies learned from the same 10,000 gold-labelled pairs; each was optimised by best-of-n up to n = "
        "2,048 and by RL for 80 steps. Gold is in standard deviations on the base policy, relative to its mean there. "
        "Intervals are percentile bootstrap over prompts.",
        claims=[
            claim(
                "late-peak",
                0.412,
                (0.231, 0.604),
                what="the slope of the distance of the peak on log2 size",
                unit="√nats",
                published=Published(
                    finding="Larger proxies peak later: the coefficient falls as log of the size.",
                    source="Gao et al. 2022, figure 3",
                    outcomes=("above",),
                ),
            ),
            claim(
                "drop",
                -0.31,
                (-0.45, -0.17),
                published=Published(
                    finding="Gold does not fall within the range that was measured.",
                    source="Gao et al. 2022, figure 1",
                    outcomes=("equal", "above"),
                ),
            ),
        ],
        figures=[
            FigureData(
                name="size-curves",
                title="Gold against distance, by size of the proxy",
                caption="Lines join measured points; bands are 95 % intervals over prompts. The axis is a root, so "
                "that best-of-n and RL can be told apart near the start.",
                rows=rows,
                x=Axis(field="kl", title="KL (nats)", scale="sqrt", from_zero=True),
                y=Axis(field="gold", title="gold (sd), relative to the base policy"),
                marks=("band", "line", "point"),
                low="low",
                high="high",
                colour=Channel(field="size", title="parameters of the proxy", is_ordered=True),
                panel=Channel(field="method", title="method"),
                order="n",
                reference=0.0,
            ),
        ],
        tables=[
            TableData(
                name="size-peaks",
                title="Where gold peaks",
                columns={"size": "Parameters", "method": "Method", "d": "Peak d", "gold": "Gold there"},
                rows=[
                    {
                        "size": size,
                        "method": "best-of-n",
                        "d": 1.0 + index / 7,
                        "d_ci": [0.8 + index / 7, 1.3 + index / 7 if index < 5 else None],
                        "gold": 0.3 + index / 3 if index else None,
                    }
                    for index, size in enumerate(SIZES)
                ],
                note="A peak beyond the data is extrapolated.",
            ),
        ],
        caveats=[
            "The shipped models are small: the largest proxy has 280 thousand parameters.",
            "Seeds share one base policy.",
        ],
    )


def _grid() -> Answer:
    rows = [
        {
            "size": size,
            "pairs": pairs,
            "accuracy": 0.52 + 0.02 * i + 0.035 * j + 0.003 * i * j,
            "gain": round(0.25 * j - 0.3 + 0.05 * i - 0.1 * (j == 0), 9),
        }
        for i, size in enumerate(SIZES)
        for j, pairs in enumerate(PAIRS)
    ]
    shared: Json = {
        "rows": rows,
        "x": Axis(field="size", title="parameters of the proxy"),
        "y": Axis(field="pairs", title="training pairs"),
        "marks": ("heat", "text"),
    }
    return Answer(
        id="size-by-data",
        title="Size and data",
        question="Is it better to have a larger proxy or more comparisons?",
        how="Every size learned from every number of pairs, two seeds each.",
        claims=[
            claim(
                "more-data",
                0.061,
                (0.012, 0.11),
                unit="",
                digits=3,
                published=Published(
                    finding="Below about 2,000 comparisons no size does better than chance.",
                    source="Gao et al. 2022, figure 4",
                    why_not="our smallest data set is larger",
                ),
            ),
            claim(
                "unknown-cell",
                None,
                (None, None),
                note="the smallest proxy did not learn",
                published=Published(
                    finding="More data helps.", source="Gao et al. 2022, section 3.3", outcomes=("above",)
                ),
            ),
        ],
        figures=[
            FigureData(
                name="grid-accuracy",
                title="Agreement with gold on held-out pairs",
                caption="Share of pairs ordered as gold orders them.",
                value="accuracy",
                **shared,
            ),
            FigureData(
                name="grid-gain",
                title="Gain of gold at n = 1,024",
                caption="Blue is a gain over the base policy, red a loss.",
                value="gain",
                **shared,
            ),
        ],
    )


def _mitigations(rng: random.Random) -> Answer:
    rows = []
    for noise in (0, 10, 25):
        for index, kind in enumerate(KINDS):
            gold = 0.6 + 0.05 * index - 0.015 * noise + rng.gauss(0, 0.03)
            rows.append(
                {
                    "noise": noise,
                    "kind": kind,
                    "gold": gold,
                    "low": gold - 0.12,
                    "high": gold + 0.14,
                    "drop": -0.4 + 0.05 * index,
                }
            )
    axis = Axis(field="gold", title="gold at 10 nats (sd)")
    return Answer(
        id="mitigations",
        title="What helps",
        question="Which mitigation keeps most gold at the same distance?",
        how="Each was run with two seeds; gold at 10 nats is interpolated between measured steps.",
        claims=[
            claim(
                "ensemble",
                0.21,
                (0.05, 0.37),
                published=Published(
                    finding="Conservative ensembles all but remove the fall.",
                    source="Coste et al. 2023, figure 5",
                    outcomes=("above",),
                ),
            ),
            claim("par", 0.02, (-0.1, 0.14)),
            claim(
                "length",
                0.01,
                (-0.04, 0.05),
                margin=0.1,
                published=Published(
                    finding="A length penalty changes nothing.", source="Singhal et al. 2023", outcomes=("equal",)
                ),
            ),
        ],
        figures=[
            FigureData(
                name="mitigation-noise",
                title="Gold at 10 nats against label noise",
                caption="Bars are 95 % intervals; kinds stand side by side.",
                rows=rows,
                x=Axis(field="noise", title="labels flipped (%)"),
                y=axis,
                marks=("point",),
                low="low",
                high="high",
                colour=Channel(field="kind", title="mitigation"),
                reference=0.7,
            ),
            FigureData(
                name="mitigation-kinds",
                title="Gold at 10 nats with clean labels",
                caption="One row a mitigation.",
                rows=[row for row in rows if row["noise"] == 0],
                x=Axis(field="kind", title=""),
                y=axis,
                marks=("point",),
                low="low",
                high="high",
                reference=0.6,
            ),
            FigureData(
                name="mitigation-bars",
                title="Loss after the peak",
                caption="Gold at the end less gold at its peak.",
                rows=rows,
                x=Axis(field="noise", title="labels flipped (%)"),
                y=Axis(field="drop", title="change of gold (sd)"),
                marks=("bar",),
                colour=Channel(field="kind", title="mitigation"),
            ),
        ],
    )


def _texts() -> Answer:
    long = "haha really pretty cool are you pretty cool are you so cool " * 14
    return Answer(
        id="texts",
        title="What changes in the texts",
        question="What do replies look like as pressure grows?",
        how="Replies to two held-out prompts, chosen before any was read.",
        claims=[claim("repeats", 0.34, (0.29, 0.39), what="the share of repeated words", unit="", published=None)],
        texts=[
            TextLadder(
                title="Best-of-n against the smallest proxy",
                prompt="you want to build as big a buffer as possible\nthe last few labs will be hard",
                samples=[
                    Sample(
                        place=f"n = {4**k:,}",
                        completion=text,
                        numbers={"KL": k * 1.1, "proxy": 0.3 * k, "gold": None if k == 1 else 0.4 - 0.2 * k},
                    )
                    for k, text in enumerate(
                        [
                            "Yes. The internship is not alone",
                            "Not really, especially marriage happens a little.",
                            "that's so cool! are you going to the beach?",
                            long,
                        ]
                    )
                ],
            ),
            TextLadder(
                title="RL against the smallest proxy",
                prompt="i am from spain",
                samples=[
                    Sample(place="step 40", completion="woooo" * 90, numbers={"KL": 41.0, "proxy": 1.9, "gold": -0.4})
                ],
            ),
        ],
        figures=[
            FigureData(
                name="text-features",
                title="Features of replies against distance",
                caption="Small multiples with common axes.",
                rows=[
                    {
                        "feature": feature,
                        "d": d,
                        "share": 0.1 * k
                        + (0.04 if proxy == "small" else 0.06) * d * (k - 1.5)
                        + 0.03 * (how == "measured") * math.sin(d),
                        "proxy": proxy,
                        "how": how,
                    }
                    for k, feature in enumerate(("questions", "repeated words", "valence", "distinct words", "length"))
                    for d in range(1, 8)
                    for proxy in ("small", "large")
                    for how in ("measured", "fitted")
                ],
                x=Axis(field="d", title="distance d (√nats)"),
                y=Axis(field="share", title="standard deviations"),
                marks=("line",),
                colour=Channel(field="proxy", title="proxy"),
                dash=Channel(field="how", title=""),
                panel=Channel(field="feature", title="feature"),
            )
        ],
    )


def _laws() -> Answer:
    rows: list[Json] = [
        {
            "n": 4**k,
            "kind": kind,
            "gold": math.sin(k / 3 + i),
            "low": math.sin(k / 3 + i) - 0.2,
            "high": math.sin(k / 3 + i) + 0.2,
            "name": f"n {4**k}",
        }
        for k in range(9)
        for i, kind in enumerate(("measured", "predicted from n ≤ 1,024"))
    ]
    return Answer(
        id="extrapolation",
        title="Extrapolation",
        question="Does the law that fits up to n = 1,024 hold at 65,536?",
        how="Fitted on small n, judged at large n.",
        claims=[
            claim(
                "gap",
                -0.02,
                (-0.3, 0.2),
                published=Published(
                    finding="The law predicts gold at KL three times as large.",
                    source="Gao et al. 2022, section 3.6",
                    outcomes=("equal",),
                ),
            )
        ],
        figures=[
            FigureData(
                name="extrapolation",
                title="Gold at large n",
                caption="Every kind of mark at once.",
                rows=rows,
                x=Axis(field="n", title="n", scale="log"),
                y=Axis(field="gold", title="gold (sd)"),
                marks=("band", "line", "point", "text"),
                low="low",
                high="high",
                colour=Channel(field="kind", title=""),
                shape=Channel(field="kind", title=""),
                dash=Channel(field="kind", title=""),
                value="name",
                reference=0.0,
            )
        ],
    )


def _bare() -> Answer:
    return Answer(
        id="entropy",
        title="Entropy",
        question="Which axis fits better, entropy or KL?",
        how="Not run with this preset.",
        claims=[],
    )


def make_results() -> Json:
    """Results of the study, as they are read from the file."""
    rng = random.Random(0)
    answers = [_curves(rng), _grid(), _mitigations(rng), _texts(), _laws(), _bare()]
    stages = [
        {
            "label": f"proxy w{width} s{seed}",
            "name": "gao2022.proxy",
            "seconds": 3.1 + width / 9,
            "peak_memory_mb": 600.0 + width,
        }
        for width in (8, 16, 32)
        for seed in (0, 1)
    ]
    results = {
        "schema": "overopt.study/1",
        "study": "gao2022",
        "preset": "default",
        "seed": 0,
        "level": 0.95,
        "settings": {"policy_width": 64, "pairs": list(PAIRS), "rl": {"steps": 80, "learning_rate": 0.0005}},
        "data": {"prompts": 64, "samples_per_prompt": 2048, "comparisons": 12_800},
        "base": {"policy": "chitchat-w64", "parameters": 279_744},
        "versions": {"overopt": "0.1.0", "python": "3.11.7", "torch": None},
        "timings": {
            "wall_s": 2511.4,
            "workers": 2,
            "stages": [
                {"label": "prompts", "name": "gao2022.prompts", "seconds": 1.3, "peak_memory_mb": 593.6},
                *stages,
            ],
        },
        "questions": [answer.to_dict() for answer in answers],
    }
    found: Json = json.loads(json.dumps(results))
    return found
