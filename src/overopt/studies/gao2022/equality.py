"""How far a claim with a margin is from being able to say "equal"."""

from overopt.records.answers import Claim


def what_equal_takes(claim: Claim, name: str) -> list[str]:
    """A caveat with the half width of the claim's interval beside its margin; none without an interval or a margin.

    Parameters
    ----------
    claim : Claim
    name : str
        Of the quantity, at the start of a sentence.
    """
    low, high = claim.ci
    if claim.margin is None or claim.value is None or low is None or high is None:
        return []
    half, margin = (f"{size:.{claim.digits}f} {claim.unit}".rstrip() for size in ((high - low) / 2, claim.margin))
    known = f"{name} is known to ±{half} (half of its interval), and “equal” means within ±{margin}"
    if (high - low) / 2 > claim.margin:
        return [f"{known}: this study cannot say “equal”, whatever the value."]
    return [f"{known}: this study can say “equal” where the value is small enough."]
