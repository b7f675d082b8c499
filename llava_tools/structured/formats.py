"""Formats of strings, narrowed to what Python can hold: patterns that a grammar adds to them.

RFC 3339 and llguidance allow more than `datetime` and pydantic do: the year 0, leap seconds, 29
February in every year, fractions and durations of any length.
"""

_YEAR = r"([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_COMMON_DAY = rf"{_YEAR}-((0[13-9]|1[0-2])-[0-9]{{2}}|02-([01][0-9]|2[0-8]))"
_LEAP_DAY = r"[0-9]{2}(0[48]|[2468][048]|[13579][26])-02-29"
_DATE = f"({_COMMON_DAY}|{_LEAP_DAY})"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-].*)"

#: Pattern by format. What else a format demands (days of a month, hours of a day) stays with it.
NARROWED = {
    "date": f"^{_DATE}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "time": f"^{_TIME}$",
    "duration": r"^P([0-9]{1,4}[YMWD])*(T([0-9]{1,4}[HMS])+)?$",
}
