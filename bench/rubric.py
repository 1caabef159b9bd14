"""How many replies the gold rubric scores in a second, on human replies; one thread.

Run: python bench/rubric.py
"""

import statistics
import time

from overopt.assets.chitchat import exchanges, load_conversations
from overopt.rewards.rubric import GoldRubric

REPEATS = 7
ROWS = 20_000


def main() -> None:
    rows = exchanges(load_conversations(), "train").rows[:ROWS]
    prompts, replies = [row.prompt for row in rows], [row.reply for row in rows]
    rubric = GoldRubric()
    rates = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        rubric.score(prompts, replies)
        rates.append(ROWS / (time.perf_counter() - started))
    median = statistics.median(rates)
    print(f"median {median:,.0f} replies/s, range {min(rates):,.0f} to {max(rates):,.0f}, {REPEATS} runs")


if __name__ == "__main__":
    main()
