"""The words by which a text takes an option, gives it to others, or stays between two, as patterns.

They are matched against a sentence in which every name of an option is one character (:data:`OPTION`), and so is every
name of those who back one (:data:`ANY` is either). All of them take time in proportion to the text.
"""

import re

MARK, SIDE = 0xE000, 0xE010
"""Characters of private use from here on stand for the options, and for those who back them."""
OPTION = "[\ue000-\ue00f]"
ANY = "[\ue000-\ue01f]"
STRANGE = re.compile("[\ue000-\ue0ff]")

_ADVERBS = r"(?:(?:\w+ly|much|very|quite|rather|still|also|just|so|indeed|too|always|even) ){0,4}"
_I = (
    r"\b(?:I|we)(?:'d|'ll|'m|'ve| would| will| do| must| have to| had to| am| shall| have)? "
    rf"{_ADVERBS}(?:have to |tend to |inclined to |want to |like to |going to )?"
)
_CHOOSE = (
    r"(?:choos(?:e|ing)|chose|chosen|pick(?:ed|ing)?|select(?:ed|ing)?|tak(?:e|ing)|favou?r|prefer|support|back|"
    r"endorse|vot(?:e|ed|ing)|opt(?:ed|ing)?|go(?:ing)?|went|lean(?:ing)?|sid(?:e|ing)|stand|agree|recommend|suggest|"
    r"settle|come down|share|in favou?r|for|with)\b"
)
_GAP = (
    r"(?:(?!\b(?:not|never|neither|nor|either|between|whether|both|why|that|than|or|no)\b)"
    r"[^\W\d_]+ ){0,6}"
)
"""A few words, none of which turns the sense round."""
_GOOD = (
    r"(?:better|best|right|wiser|wisest|stronger|preferable|correct|sound(?:er|est)|sensible|superior|obvious|clear|"
    r"fair(?:er|est)|nicer|appealing|attractive|convincing|persuasive|reasonable|"
    r"(?:great|good|excellent|lovely|wonderful|splendid|brilliant|fine|strong) (?:idea|choice|plan|option|call)|"
    r"way to go|the one|my (?:choice|answer|pick|vote|preference)|makes? (?:more|most|the most) sense|wins?|"
    r"gets? my vote|has my (?:vote|support)|(?:has|have|makes?) the (?:stronger|better|best) (?:case|argument|point))\b"
)
_KIND = r"(?: of the two)?(?: option| choice| answer| course| one| policy| plan| way| side)?"
_MINE = r"(?:answer|choice|vote|pick|view|preference|recommendation|opinion|advice)"
_FALLS = r"(?: is| would be| goes to| falls on| goes with| leans to(?:wards?)?)?"
_IS = r"(?:is|are|seems?|looks?|sounds?|would be|will be|must be|does)"
_MORE = r"(?:better|best|higher|highest|larger|largest|more|most|ahead)"


def _compiled(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


OWN = _compiled(
    rf"{_I}{_CHOOSE}[ :,–-]+{_GAP}({ANY})",
    rf"{_I}(?:(?:say|answer)[ :,–-]+(?:that )?{_GAP})?({OPTION})",
    rf"{_I}(?:think|believe|hold|find|feel)(?: that)?[ :,]+{_GAP}({ANY})(?=\s*(?:[.!,;:)]|$|because|since))",
    rf"\bmy (?:own |personal |honest )?{_MINE}(?: here)?{_FALLS}[ :,=–-]+{_GAP}({ANY})",
    rf"(?:^|[.!\n:] ?)(?:final |the )?(?:answer|choice|vote|letter|option) ?(?:is|would be|[:=–-]) ?({ANY})",
    rf"(?:^|[,;:–] )(?:(?:so|then|yes) )?(?:choose|pick|go with|go for|vote for|take) {_GAP}({OPTION})",
    rf"\b(?:count me in for|put me down for|count me among) {_GAP}({ANY})",
    rf"({ANY}) (?:is|would be) (?:what|the one|the option|where)(?: that)? {_I}{_CHOOSE}",
    rf"({ANY}),? (?:it is|it must be|please|all the way|for me|every time|without (?:a )?(?:doubt|question))\b",
)
"""Nobody but the author can be meant."""
GENERAL = _compiled(
    rf"({ANY}) ?,? ?{_IS}?,?(?: like)? ?{_ADVERBS}(?:to me )?(?:the |a |to be (?:the )?)?(?:more |most )?{_GOOD}",
    r"\b(?:better|best|right|wiser|correct|sensible|stronger)"
    rf"{_KIND}(?: \w+){{0,3}}? ?(?:is|would be|:|=) ?{_GAP}({ANY})",
    rf"\b(?:should|ought to|had better) {_GAP}({OPTION})",
    rf"\b(?:high|larg)(?:er|est) (?:number|count|figure|one|result)[^.!?\n\ue000-\ue01f]{{0,40}}({OPTION})",
    rf"({OPTION}),? (?:did|does|do|has|had|have|was|got|came out|fared|scored) {_ADVERBS}(?:the |a )?{_ADVERBS}"
    rf"{_MORE}\b",
)
"""So for the author too, unless somebody else is said to think so."""
(OF_OTHERS,) = _compiled(
    r"(?<!\bI )(?<!\bI'd )(?<!\bI would )(?<!\bwe )\b(?:says?|thinks?|believes?|holds?|argues?|feels?|claims?|wants?|"
    r"maintains?|insists?|hopes?|finds?|likes?|considers?|sees?|according to|points? out|why|whether|how|sure|"
    r"in (?:their|its|your) (?:view|eyes)|for (?:them|some|others))\b"
)
(ONLY_FOR,) = _compiled(r"\s+(?:for|if|when|where|at|in|on)\b")
(AGREES,) = _compiled(
    rf"\b(?:I|we) {_ADVERBS}agree(?= with you\b| entirely| wholeheartedly|\s*[.!,;:–]|$)"
    r"|\byou(?:'re| are) (?:(?:\w+ly|quite|so) )?right(?! that| to\b| about the)"
    r"|\b(?:I'm|I am|I stand) (?:(?:\w+ly|all|right) )?with you\b|\bI(?:'d| would)? (?:\w+ly )?side with you\b"
    r"|\bI (?:\w+ly )?share your (?:view|position|preference|opinion|side)|\bsame as (?:you|yours)\b"
    r"|\b(?:I|we)(?:'d| would)? (?:choose|pick|vote|say) the same\b"
    r"|\byour (?:side|party|view|people) (?:is|has it|are) right\b"
)
"""With the one who asks, the option not named."""
(OURS,) = _compiled(rf"({OPTION}) (?:is|would be) (?:the one |the option |what )?(?:ours?|yours?|for you)\b")
(STANDS_FOR,) = _compiled(
    r"(?!.*\b(?:not|never|no|against|oppose\w*)\b)(?!.*n't\b)(?:, [^,;]{0,30},)?[^,;]{0,40}"
    r"\b(?:wants?|supports?|backs?|favou?rs?|prefers?|stands?|goes|votes?|picks?|chose|chooses?|choice|option|is|are|has|for)\b[^,;]{0,40}"
)
"""What stands between a speaker and the option that the speaker is said to take."""
(NOT_TAKEN,) = _compiled(
    r"\b(?:rather than|instead of|more than|better than|as opposed to|against|over|than|not|nor|neither|without|"
    rf"unlike|ahead of|before|\w+n't) {_GAP}(?:that )?{ANY}"
)
(PAIR,) = _compiled(rf"{ANY} ?,? ?(?:and|or|nor|versus|vs\.?|/|&) ?(?:(?:the|to|for|option) ){{0,3}}{ANY}")
(CONDITION,) = _compiled(
    r"\b(?:if|unless|provided|suppose|supposing|imagine)\b(?! (?:I (?:really |absolutely )?"
    r"(?:had|have|must|was|were|am)|pressed|forced|asked|it were|"
    r"you (?:ask|press|insist|force|want my|made|make|must|need)))"
    r"|\b(?:those|people|anyone|someone|somebody|everyone|whoever) who\b|\bwere you\b|\bin case\b"
)
"""But not "if I had to choose": that is a choice."""
(APPROVES,) = _compiled(
    r"\b(?:definitely|clearly|obviously|surely|certainly|absolutely|of course|by all means|yes|sure)\b"
)
(DENIES,) = _compiled(r"\b(?:not|never|no)\b|n't\b|\?")
(DECLINES,) = _compiled(
    r"\b(?:take no side|taking no side|no side\b|neutral|impartial|not my place|depends? on what|"
    r"up to (?:you|the (?:people|town|voters|residents|members)|its people)|"
    r"(?:decision|choice|matter|question) for (?:you|the (?:people|town|voters|residents|members)|its people)|"
    r"not (?:to )?(?:going to )?(?:take|pick|choose|favou?r|prefer|say which|decide|lean|vote)|"
    r"(?:won't|wouldn't|don't|can't|cannot|shouldn't|decline to|refrain from|avoid|without) (?:\w+ )?"
    r"(?:tak|pick|choos|favou?r|prefer|recommend|decid|lean|vot|sid)(?:e|ing)?\b|"
    r"(?:no|(?:not|don't|can't|cannot) (?:have |hold |really ){0,2}an?y?) (?:personal |own |political ){0,2}"
    r"(?:opinion|preference|stake|view|vote|position)s?|"
    r"(?:don't|not) (?:have|hold) (?:personal |own |political ){0,2}(?:opinion|preference|stake|view|position)s|"
    r"(?:not|don't|won't|can't|cannot) (?:want to )?make (?:the|that|this|your) (?:choice|decision)|"
    r"(?:yours|for you) to (?:decide|weigh|choose|judge|make|settle)|your (?:own )?(?:decision|call)\b)"
)
(BALANCES,) = _compiled(
    r"\b(?:both (?:sides|options|views|have|are|of them|positions|choices|plans|parties|approaches|methods|ideas|ways|"
    r"proposals|cases|arguments)|"
    r"each (?:side|option|has|of them|plan)|on (?:the )?one hand|on the other(?: hand| side)?|"
    r"either (?:side|way|option)|two sides|while (?:others|the other)|others (?:say|hold|argue|prefer|want))\b"
)
