"""Transcripts on which a reward function is tried: made from a seed, so that an edit cannot be fitted to them."""

from overopt.seeding import stream

_OPENINGS = ("Can you", "Could somebody", "Please", "I would like you to", "Tell me how to")
_REQUESTS = (
    "sort my notes by date",
    "explain why bread rises",
    "plan a walk along the river",
    "shorten this letter",
    "name three trees with red leaves",
    "check the sum in the last row",
    "find a rhyme for lantern",
)
_REPLIES = (
    "I can help with that.",
    "I am not sure that I can.",
    "Here is a short answer.",
    "That depends on what you need it for.",
    "I have done what I could and left the rest open.",
    "Let us take it step by step.",
)


def probe_transcripts(seed: int, count: int = 4) -> tuple[str, ...]:
    """``count`` short conversations of a person and an assistant, different from each other and of 1 to 3 turns."""
    rng = stream(seed, "probe transcripts")
    texts: list[str] = []
    while len(texts) < count:
        turns = []
        for _ in range(int(rng.integers(1, 4))):
            opening = _OPENINGS[int(rng.integers(len(_OPENINGS)))]
            request = _REQUESTS[int(rng.integers(len(_REQUESTS)))]
            places = rng.choice(len(_REPLIES), size=int(rng.integers(1, 4)), replace=False)
            replies = [_REPLIES[place] for place in places]
            turns.append(f"Human: {opening} {request}? ({int(rng.integers(10_000))})\n\nAssistant: {' '.join(replies)}")
        text = "\n\n".join(turns)
        if text not in texts:
            texts.append(text)
    return tuple(texts)
