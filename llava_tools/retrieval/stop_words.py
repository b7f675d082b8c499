"""Words that say little about a page: articles, pronouns, prepositions, question words.

A query's other words decide, if it has others. They are of nine languages, as a list for each would
need to know a query's language; a word of one that means something in another ("die", "on") is rare
as the word that decides.
"""

from __future__ import annotations

_LANGUAGES = {
    "English": """
        a about am an and any are as at be been but by can could did do does for from had has
        have he her his how i if in into is it its me my no not of on or our she should so than
        that the their them then there these they this those to up us was we were what when
        where which who whom whose why will with would you your
    """,
    "German": """
        als am an auch auf aus bei bis da damit das dass dem den der des die du durch ein eine
        einem einen einer eines er es für haben hat ich ihr im in ist kann kein keine können man
        mein mit muss nach nicht oder sein sich sie sind so soll um und unter vom von vor wann
        warum was welche welchem welchen welcher welches wenn wer werden wie wir wird wo zu zum
        zur über
    """,
    "French": """
        au aux avec ce ces cet cette comment d dans de des du elle en est et faire fait faut il
        ils je l la le les leur leurs ma mais mes mon n ne nous on ont ou où par pas peut plus
        pour pourquoi qu quand que quel quelle quelles quels qui quoi s sa sans se ses si son
        sont sous sur tu un une vous y à être
    """,
    "Spanish": """
        al algo como con cuando cuál cuáles cuándo cómo de del donde dónde el ella en es esa ese
        esta estas este estos está están hago hay la las le les lo los mi mis muy más no o para
        pero por porque puede que quién qué se ser si sin sobre son su sus te tu un una unas uno
        unos y ya yo él
    """,
    "Italian": """
        ai alla che chi ci come con cosa cui da dal dei della delle di dove e gli ha ho i il lo
        nel nella per perché più quale quali quando quanto questa questo sono sul sulla una uno
    """,
    "Portuguese": """
        ao aos as com como da das do dos e em essa esse isso já mais mas na nas no nos num não o
        os ou para pela pelo porque quais qual quando sem seu sua são também um uma
    """,
    "Dutch": """
        bij dat deze die dit een en er het hij hoe ik in is je kan maar met moet naar niet of om
        ook op te tot uit van voor waar waarom wat welke wie wij ze zich zijn
    """,
    "Swedish and Danish": """
        af at att av blir blive den der det du där en et ett från får för han har hur hvad hvor
        hvordan ikke inte jag jeg kan man med när och og om på ska skal som til till vad var vi
        är
    """,
}
STOP_WORDS = frozenset(word for words in _LANGUAGES.values() for word in words.split())
