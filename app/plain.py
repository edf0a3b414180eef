"""Words of others as they are: what an item is called, what a server says.

Streamlit reads Markdown, which fetches pictures from anywhere and makes links of anything, for whoever can name an item
or send somebody a link to a page.
"""

import re

_SIGNS = re.compile(r"([\\`*_\[\]<>$~#|])")


def plain(words: object) -> str:
    """The words as Markdown that shows them."""
    return _SIGNS.sub(r"\\\1", str(words))
