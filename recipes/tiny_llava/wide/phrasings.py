"""In which words writing, charts and pages are asked about, composed as those about shapes are."""

from __future__ import annotations

from recipes.tiny_llava.phrasings import ASKING, GIVE, HUE, VIEW

_IN = f"{{in|on}} {{the|this}} {VIEW}"
_SAYS = "{say|show|read|display|spell}"
_TEXT = "{word|text|writing|lettering|inscription}"
_FIGURE = "{number|number|number|figure|value}"

NUMBER = (
    f"what {_FIGURE} is {{shown|written|this|it|displayed|visible|drawn|printed|there}}",
    f"what {_FIGURE} is {{shown|written|displayed|printed}} {_IN}",
    f"{{what|which}} {_FIGURE} {{do|can}} you {{see|read|make out}} {{{_IN}|here|}}",
    f"{{what|which}} {_FIGURE} does {{the|this}} {VIEW} {{show|contain|display|have|give}}",
    f"read {{the|this}} {_FIGURE} {{out|aloud|for me|{_IN}|}}",
    f"{GIVE} the {_FIGURE} {{{_IN}|shown|written here|you see|}}",
    f"{ASKING} {{what|which}} {_FIGURE} {{is shown|it is|is written here|you see|this is}}",
    f"{ASKING} the {_FIGURE} {_IN}",
    "which {number|figure} {is it|was written|has been written|was printed|is printed here}",
    "what {digits|figures} {are|do you see|can you read} {there|here|in the picture|}",
    f"what is the {_FIGURE} {{{_IN}|}}",
    f"what's the {_FIGURE} {{{_IN}|here|}}",
    "{the|} {number|figure} {is|reads|shown is|written here is}",
    f"there is a number {_IN}. {{which|what is it|read it|what number}}",
    "{transcribe|type out|write out|copy|note down} the {number|digits|figure}",
    f"i {{need|want|would like|cannot read|cannot see}} the {_FIGURE}{{, what is it|}}",
    f"{{read|spell}} {{off|out}} the {_FIGURE} {{that is there|of the {VIEW}|for me}}",
    f"{{somebody|someone}} {{wrote|drew|printed}} a {_FIGURE} {{here|}}. what {{is it|was it}}",
)
WORD = (
    f"what {_TEXT} is {{shown|written|this|it|displayed|visible|drawn|printed|there}}",
    f"what {_TEXT} is {{shown|written|displayed|printed}} {_IN}",
    f"{{what|which}} {_TEXT} {{do|can}} you {{see|read|make out}} {{{_IN}|here|}}",
    f"{{what|which}} {_TEXT} does {{the|this}} {VIEW} {{show|contain|display|have}}",
    f"what does {{it|this|the {VIEW}|the text|the word|the writing|the sign}} {_SAYS}",
    f"what is written {{{_IN}|here|there|}}",
    f"read {{the|this}} {_TEXT} {{out|aloud|for me|{_IN}|}}",
    f"{GIVE} the {_TEXT} {{{_IN}|shown|written here|you see|}}",
    f"{ASKING} {{what|which}} {_TEXT} {{is shown|it is|is written here|you see|this is}}",
    f"{ASKING} what {{is written|it says|is printed}} {_IN}",
    f"what is the {_TEXT} {{{_IN}|}}",
    f"what's the {_TEXT} {{{_IN}|here|}}",
    "{what|which} letters {are shown|do you see|can you read|are written} {there|here|}",
    "{transcribe|type out|write out|copy|spell out|spell} the {word|text|letters|writing}",
    f"there is {{a word|some text|writing}} {_IN}. {{which|what is it|read it|what does it say}}",
    "{the|} {word|text} {is|reads|says|shown is}",
    f"i {{need|want|would like|cannot see|cannot make out}} the {_TEXT}{{, what is it|}}",
    f"{{read|spell}} {{off|out}} the {{{_TEXT}|letters}} {{that is there|of the {VIEW}|for me}}",
    "{somebody|someone} {printed|put|left} {a word|some text} {here|}. what {is it|was it}",
)

_MOST = "{tallest|highest|longest|biggest|largest}"
_LEAST = "{shortest|lowest|smallest|least tall}"
_RISES = (
    "{is|stands|rises} {taller|higher} than {the|all} {others|other bars}|"
    "{has|shows|reaches} the {greatest|largest|highest|most} {value|height|level}|"
    "{goes|reaches|extends} {farthest up|furthest up|to the top}|{is|comes} first by {height|size}|"
    "{is the|has the|marks the} {maximum|peak}|{leads|sticks out|tops the rest|towers over all}|"
    "{is the winner|beats every other|ranks first|is on top|comes out first|surpasses the rest}|"
    "{is above|exceeds|is larger than} {the rest|every other one|all the rest}"
)
_FALLS = (
    "{is|stays|remains} {shorter|lower} than {the|all} {others|other bars}|"
    "{has|shows|reaches} the {smallest|lowest|least} {value|height|level}|"
    "{goes|reaches|extends} {least far up|the least high}|{is|comes} last by {height|size}|"
    "{is the|has the|marks the} {minimum|bottom value}|{trails|falls short|stays under the rest}|"
    "{is the loser|is beaten by every other|ranks last|comes out last|is left behind}|"
    "{is below|is under|is smaller than} {the rest|every other one|all the rest}"
)
_TOP = "{greatest|largest|highest|biggest|topmost|maximum|best}"
_LOW = "{least|smallest|lowest|tiniest|minimum|worst}"
_CHART = "{chart|bar chart|graph|bar graph|plot|diagram|picture|image}"


def _bar_hue(which: str, does: str) -> tuple[str, ...]:
    return (
        f"{{what|which}} {HUE} is the bar that {{{does}}}",
        f"{{what|which}} {HUE} is the {which} bar",
        f"{{what|which}} {HUE} {{does|has}} the {which} bar {{have|got|}}",
        f"what is the {HUE} of the {which} bar {{in the {_CHART}|}}",
        f"{GIVE} the {HUE} of the {which} bar",
        f"{GIVE} the {which} bar's {HUE}",
        f"{ASKING} {{what|which}} {HUE} the {which} bar {{is|has}}",
        f"{{what|which}} {HUE} {{bar|column}} is {{the|}} {which}",
        f"in the {_CHART}, {{what|which}} {HUE} is the {which} {{bar|column|one}}",
        f"{{the|}} {which} bar is {{what|which}} {HUE}",
        f"{HUE} of the {which} {{bar|column}}",
        f"look at the bars. {{what|which}} {HUE} is the {which} {{one|}}",
    )


def _bar_which(which: str, does: str, most: str) -> tuple[str, ...]:
    return (
        f"{{which|what}} {{bar|column|one}} {{{does}}}",
        f"{{of|among}} {{the|these|all the}} {{bars|columns}}, which {{one|bar|}} {{{does}}}",
        f"{GIVE} {{which bar|the bar that}} {{{does}}}",
        f"{{which|what}} {{bar|column}} is {{the|}} {which}",
        f"{{which|what}} is the {which} {{bar|column}} {{in the {_CHART}|}}",
        f"which of the {{bars|columns}} is {{the|}} {which}",
        f"{GIVE} the {which} {{bar|column}}",
        f"{ASKING} which {{bar|column}} is {{the|}} {which}",
        f"in the {_CHART}, which {{bar|column|one}} is {{the|}} {which}",
        f"{{find|identify|look for|pick}} the {which} {{bar|column}}",
        f"the {which} {{bar|column}} is {{which one|which|called}}",
        f"{{find|show|pick|point out|state}} the {{bar|column|one}} {{with|of}} {{the|}} {most} "
        "{height|value|size|level}",
        f"{{which|what}} {{bar|column}}'s {{height|value|size|level}} is {{the|}} {most}",
        f"{{whose|which one's}} {{height|value|level}} is {{the|}} {most}{{, among the bars|}}",
        f"{{which|what}} {{bar|column|one}} would you call the {which}{{ one|}}",
    )


def _bar_name(which: str) -> tuple[str, ...]:
    return (
        f"{{what|which}} {{letter|label|category}} has the {which} bar",
        f"what is the {{label|letter|name}} {{of|under|below}} the {which} bar",
        f"{{which|what}} {{letter|label}} {{stands|is}} {{under|below}} the {which} bar",
        f"{GIVE} the {{label|letter}} of the {which} bar",
        f"how is the {which} bar {{labelled|labeled|called|named}}",
    )


TALLEST_HUE, SHORTEST_HUE = _bar_hue(_MOST, _RISES), _bar_hue(_LEAST, _FALLS)
TALLEST_WHICH = _bar_which(_MOST, _RISES, _TOP)
SHORTEST_WHICH = _bar_which(_LEAST, _FALLS, _LOW)
TALLEST_NAME, SHORTEST_NAME = _bar_name(_MOST), _bar_name(_LEAST)
BAR_HUE = (
    f"{{what|which}} {HUE} is {{the|}} bar <label>",
    f"what is the {HUE} of bar <label>",
    f"{{what|which}} {HUE} does {{the bar|bar|column}} <label> have",
    f"{GIVE} the {HUE} of {{bar|the bar|column}} <label>",
    f"{ASKING} {{what|which}} {HUE} bar <label> {{is|has}}",
    f"in {{what|which}} {HUE} is bar <label> {{drawn|shown|painted}}",
    f"{{what|which}} {HUE} is the bar {{labelled|labeled|called|named|above|over}} <label>",
    f"{{what|which}} {HUE} {{do|can}} you see {{at|for|above}} {{bar|column|}} <label>",
    f"{{bar|column|the bar}} <label> {{is|has}} {{what|which}} {HUE}",
    f"{{look at|find|take}} {{bar|column}} <label>. {{what|which}} {HUE} {{is it|does it have}}",
    f"{HUE} of {{bar|column|}} <label>",
    f"<label> {{is|has}} {{what|which}} {HUE}",
    f"the {{bar|column}} {{above|with|marked}} {{the letter|the label|}} <label>: "
    f"{{its|what}} {HUE}",
    f"{{what|which}} {HUE} {{was|did they}} {{used for|use for}} {{bar|column}} <label>",
)

TITLE = (
    f"what is the {{title|heading|headline}} {{of the {{page|document|chart|{VIEW}}}|}}",
    "what's the {title|heading|headline}",
    "{what|which} {title|heading|headline} {does|has} {it|the page|the document} {have|}",
    "{read|transcribe|copy|type out} the {title|heading|headline} {for me|of the page|}",
    f"{GIVE} the {{title|heading|headline}} {{of the {{page|document}}|}}",
    f"{ASKING} the {{title|heading}} {{of the {{page|document}}|}}",
    f"{ASKING} {{how|what}} the {{page|document}} is {{titled|headed|entitled}}",
    "how is the {page|document} {titled|headed|entitled}",
    "what {does|is written in} the {title|heading|headline} {say|read|}",
    "what {stands|is written|is printed} {at the top|in the heading|as the title} "
    "{of the {page|document}|}",
    "{the|} {title|heading} {of the page|of the document|} {is|reads|}",
    "i {want|would like|have to know|am looking for} the {title|heading} {of this page|}",
    "{by|with} {what|which} {title|heading} does the {page|document} {begin|start|open}",
    "what is the {page|document} {called|named|about by its title}",
)
TOTAL = (
    "what is the {total|sum|amount|total amount|amount due}",
    "what's the {total|sum|amount|total amount}",
    "what {is|was} the {total|sum} {of|on|in} {the|this} {document|page|bill|invoice}",
    "how {much|large|high|big} is the {total|sum|amount|total amount}",
    "how much {is it|is due|does it come to|is to be paid|is owed} {in total|in all|altogether|}",
    "{read|transcribe|copy|type out} the {total|sum|amount} {for me|}",
    f"{GIVE} the {{total|sum|amount|total amount|final amount}}",
    f"{ASKING} the {{total|sum|amount|total amount}}",
    f"{ASKING} how {{much|high}} the {{total|sum|amount}} is",
    "what {amount|sum|number} is {given as|shown as|written as|next to} the total",
    "{which|what} {total|sum|amount} {does|is} the {page|document} {show|give|state}",
    "{the|} {total|sum|amount} {is|comes to|of the document|}",
    "what {does it|do things|does everything} {add up|come} to",
    "i {want|would like|have to know|am looking for} the {total|sum|amount} {of this page|}",
    "{what|how much} {must i|should i|do we|does one} {pay|owe} {here|altogether|in all|}",
    "{what|which} {amount|sum|figure} is {at the foot|at the bottom|at the end} {of the page|}",
)
STAMP = (
    f"{{what|which}} {HUE} is the {{stamp|seal}}",
    f"what is the {HUE} of the {{stamp|seal}}",
    f"what's the {{stamp|seal}}'s {HUE}",
    f"{{what|which}} {HUE} {{does|has}} the {{stamp|seal}} {{have|got|}}",
    f"{GIVE} the {HUE} of the {{stamp|seal}}",
    f"{GIVE} the {{stamp|seal}}'s {HUE}",
    f"{ASKING} {{what|which}} {HUE} the {{stamp|seal}} {{is|has}}",
    f"{ASKING} the {HUE} of the {{stamp|seal}}",
    f"in {{what|which}} {HUE} {{is|was}} the {{page|document}} stamped",
    f"{{what|which}} {HUE} {{is the ink of|was used for}} the {{stamp|seal}}",
    f"{HUE} of the {{stamp|seal}}",
    f"there is a {{stamp|seal}}. {{what|which}} {HUE} is it",
    f"the {{stamp|seal}} is {{what|which}} {HUE}",
)
STAMPED = (
    "what does the {stamp|seal} {say|read}",
    "what is {written|printed} {in|on} the {stamp|seal}",
    "{read|transcribe|copy} the {stamp|seal} {for me|}",
    f"{GIVE} the {{word|text}} {{in|on}} the {{stamp|seal}}",
    f"{ASKING} what the {{stamp|seal}} says",
    "{what|which} word is {on|in} the {stamp|seal}",
    "how is the {page|document} stamped, with which word",
)
STAMP_THERE = (
    "is there a {stamp|seal} {on the page|on the document|on it|here|}",
    "does the {page|document} {have|bear|carry|show} a {stamp|seal}",
    "{has|was} the {page|document} {been|} stamped",
    "{do|can} you see a {stamp|seal} {on the page|}",
    f"{ASKING} {{if|whether}} there is a {{stamp|seal}}",
    "is the {page|document} stamped",
)
ROWS = "{lines|lines of text|text lines|rows|rows of text}"
BOX = (
    "{what is|what's|give|give me|tell me|state|write|name} the {bounding box|box} {of|around|for} "
    "<the>",
    "{what is|give|tell me|state|write} the {bounding box|box} coordinates of <the>",
    "{provide|please provide|give me|return} the bounding box {coordinates|coordinate|} "
    "{of|for} <the>",
    "please provide the bounding box coordinate of the region this sentence describes: <the>",
    "{draw|put|place} a {box|bounding box} around <the>",
    "{locate|find|mark|detect|box} <the> {with|by} {a|its} {box|bounding box}",
    "{what are|give|list} the {coordinates|box coordinates|corners} of <the>",
    f"{ASKING} the {{bounding box|box|coordinates}} of <the>",
    "{bounding box|box|coordinates} of <the>",
    f"where {{in|on}} the {VIEW} is <the>, as {{a box|a bounding box|x1, y1, x2, y2|coordinates}}",
    "which {region|area|box} {holds|contains|shows|encloses} <the>, as {coordinates|a box}",
)
CAPTION = (
    f"{{describe|please describe|describe briefly}} {{the|this}} {VIEW}",
    f"{{describe|caption|summarise|summarize}} {{the|this}} {VIEW} {{briefly|in one sentence|}}",
    f"what {{is|do you see|can you see|can be seen}} {{in|on}} {{the|this}} {VIEW}",
    f"what does {{the|this}} {VIEW} {{show|contain|depict|display}}",
    f"what is {{shown|depicted|displayed|to be seen}} {{in|on}} {{the|this}} {VIEW}",
    f"{{write|give|give me|provide|make}} {{a|one|a short|a brief}} {{caption|description}} "
    f"{{for|of}} {{the|this}} {VIEW}",
    f"{{tell me|say}} what {{you see|is there|there is}} {{in|on}} {{the|this}} {VIEW}",
    f"{ASKING} what {{is|you see}} {{in|on}} {{the|this}} {VIEW}",
    f"{{what would|how would}} you {{call|describe|caption}} {{the|this}} {VIEW}",
    f"{{a|one}} {{caption|description}} {{of|for}} {{the|this}} {VIEW}{{, please|}}",
    "what {is|do we have} here",
    "what am i looking at",
)
