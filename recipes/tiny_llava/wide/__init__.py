"""What the drawn world holds beside shapes: writing, bar charts and document pages.

:mod:`.things` says what there is to see, :mod:`.sample` makes it up, :mod:`.render` draws it,
:mod:`.codes` tells what every patch should say of it, :mod:`.questions` asks about it, and
:mod:`.sights` puts all kinds of pictures, shapes among them, behind one set of functions.
"""
