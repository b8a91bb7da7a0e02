"""Text from servers on the operator's terminal: control characters are shown as text.

An app's log lines, the output of commands and the names that a server reports may have escape sequences in them, which
could rewrite the screen or the clipboard.
"""

import re

# Control characters but line feed and tab, C1 ones too; what reorders text (bidirectional overrides and isolates); half
# characters, which cannot be printed at all.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with such characters as `\\x1b` or `\\u202e`; a carriage return at the end of a line is dropped."""
    return STEERING.sub(escaped, re.sub(r"\r+(?=\n|\Z)", "", text))


def escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
