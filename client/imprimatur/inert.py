"""Make text that others wrote safe to look at, without losing a character of it.

`visible` is the part every medium shares: a character that hides, reorders, or passes itself off as another is shown
as an escape such as ``⟦U+202E⟧``. `inert` adds what one medium needs on top. Both keep two promises: nothing is cut
off, and two different texts never look the same (the brackets themselves are escaped when they occur in the text).

The answer for a text never changes between Python versions: the character data is the frozen Unicode 3.2 table of the
standard library, plus the picture and currency blocks. Whatever that table does not know is escaped, which is the safe
side.

Sources: Unicode UAX #9 (bidirectional controls), UTS #39 (mixed-script and confusable detection), UTS #51
(pictographs), OWASP "CSV Injection"."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby

OPEN, CLOSE = "\u27e6", "\u27e7"
_UCD = unicodedata.ucd_3_2_0

# Assigned, visible characters that Unicode 3.2 does not know yet: money signs and pictographs. Tags, joiners, skin
# tones and regional letters are left out on purpose: they change how their neighbours look.
_NEWER = (
    (0x20A0, 0x20C0),
    (0x1F300, 0x1F3FA),
    (0x1F400, 0x1F64F),
    (0x1F680, 0x1F6D7),
    (0x1F900, 0x1F9FF),
    (0x1FA70, 0x1FA74),
    (0x1FA78, 0x1FA7C),
    (0x1FA80, 0x1FA86),
    (0x1FA90, 0x1FAAC),
    (0x1FAB0, 0x1FABA),
    (0x1FAC0, 0x1FAC5),
)

# Characters with an ordinary category that nevertheless show nothing, or change what stands next to them.
_BLANK = (
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2065, 0x2065),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFD),
    (0x1D159, 0x1D159),
    (0xE0000, 0xE0FFF),
)

# Punctuation that reads as a slash, hyphen, colon, full stop, bar or quote of ASCII but is another character.
_STAND_INS = frozenset(
    "\u01c0\u01c3\u02b9\u02bc\u02c8\u02d0\u02d7\u037e\u0387\u0589\u05be\u05c0\u05c3\u05f3\u05f4\u060c\u061b\u066a\u066b\u066c\u066d\u06d4"
    "\u2010\u2011\u2012\u2027\u2032\u2033\u2035\u2044\u204e\u2052\u2053\u2212\u2215\u2216\u2217\u2219\u2223\u2236\u223c\u22c5"
    "\u2758\u29f5\u29f8\u29f9\u3002\u3003\u3033\u30fb\u4e36\u4e3f\ua789"
)
# Ordinary typography whose compatibility form happens to be ASCII.
_TYPOGRAPHY = frozenset("\u2026\u2122\u00aa\u00ba\u00b2\u00b3\u00b9\u00a8\u00af\u00b4\u00b8\u00bc\u00bd\u00be\u2116")

# Letters of other alphabets that can be read as a letter or digit of ASCII (UTS #39, the pairs a reader falls for).
_LOOKS_LATIN = frozenset(
    "\u0405\u0406\u0408\u0410\u0412\u0415\u0417\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0430\u0435\u043e"
    "\u0440\u0441\u0443\u0445\u0455\u0456\u0458\u04ae\u04af\u04bb\u04bd\u04c0\u04cf\u04d5\u0501\u050c\u051b\u051d"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03b1\u03b3\u03b9\u03bd\u03bf\u03c1\u03c5\u03c7\u03f2\u03f3"
    "\u054d\u0555\u0561\u0563\u0566\u0570\u0578\u057a\u057d\u0581\u0582\u0584\u0585\u13a0\u13aa\u13ac\u13b3\u13b7\u13bb\u13c0\u13c3\u13cf\u13d2\u13da\u13de\u13e2\u13e6\u13f4"
)
# Letters within the Latin alphabet itself that stand in for a plain one: dotless i, script a and g, small capitals.
_LATIN_STAND_INS = ((0x0131, 0x0131), (0x0237, 0x0237), (0x0250, 0x02AF), (0x1D00, 0x1DBF))

_ALPHABETS = (
    (
        "latin",
        (
            (0x41, 0x5A),
            (0x61, 0x7A),
            (0xAA, 0xAA),
            (0xBA, 0xBA),
            (0xC0, 0x24F),
            (0x250, 0x2AF),
            (0x1D00, 0x1DBF),
            (0x1E00, 0x1EFF),
        ),
    ),
    ("greek", ((0x370, 0x3FF), (0x1F00, 0x1FFF))),
    ("cyrillic", ((0x400, 0x52F), (0x1C80, 0x1C8F), (0xA640, 0xA69F))),
    ("armenian", ((0x531, 0x58F),)),
    ("cherokee", ((0x13A0, 0x13FF), (0xAB70, 0xABBF))),
)
_MARKS_IN_A_ROW = 2
_CHUNK = re.compile(r"\S+")
_PLAIN = re.compile(r"[ -~]*\Z")
_PLAIN_LINES = re.compile(r"[ -~\n\t]*\Z")
_SPACES = re.compile(r"\A +| +\Z|(?<= ) +")


def escape(character: str) -> str:
    """The escape for one character: its code point between brackets no agent can write."""
    return f"{OPEN}U+{ord(character):04X}{CLOSE}"


def _within(code: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(low <= code <= high for low, high in ranges)


@lru_cache(maxsize=4096)
def _alphabet(character: str) -> str:
    code = ord(character)
    return next((name for name, ranges in _ALPHABETS if _within(code, ranges)), "other")


@lru_cache(maxsize=4096)
def _hidden(character: str) -> bool:
    code = ord(character)
    if 0x20 <= code < 0x7F:
        return False
    if character in (OPEN, CLOSE) or character in _STAND_INS or _within(code, _BLANK):
        return True
    if _within(code, _NEWER):
        return False
    if _UCD.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"):
        return True
    if character in _TYPOGRAPHY:
        return False
    plain = _UCD.normalize("NFKC", character)
    return plain != character and plain.isascii()


def _words(text: str) -> Iterator[tuple[int, str]]:
    """Runs of letters, digits and their marks, with where they start."""
    for is_word, run in groupby(enumerate(text), lambda each: _UCD.category(each[1])[0] in "LNM"):
        if is_word:
            pairs = list(run)
            yield pairs[0][0], "".join(character for _, character in pairs)


def _look_alikes(text: str) -> set[int]:
    """Positions of letters that pass for ASCII letters where a reader would take them for such."""
    found: set[int] = set()
    for chunk in _CHUNK.finditer(text):
        body = chunk.group()
        if body.isascii():
            continue
        machine = any(c in "./@:\\_-" or c in "0123456789" for c in body.strip(".,;:!?()"))
        letters_of_ascii = any(c.isascii() and c.isalpha() for c in body)
        for start, word in _words(body):
            letters = [(chunk.start() + start + i, c, _alphabet(c)) for i, c in enumerate(word) if not c.isascii()]
            alphabets = {name for _, _, name in letters if name != "other"}
            alphabets |= {"latin"} if any(c.isascii() and c.isalpha() for c in word) else set()
            foreign = [(at, c) for at, c, name in letters if name not in ("latin", "other")]
            disguised = all(c in _LOOKS_LATIN for _, c in foreign) and (len(foreign) > 1 or letters_of_ascii)
            if len(alphabets) > 1 or disguised:
                found.update(at for at, _ in foreign)
            if machine:
                found.update(at for at, c, _ in letters if _within(ord(c), _LATIN_STAND_INS))
    return found


def visible(text: str, *, lines: bool = False) -> str:
    """Show every hidden, reordering or look-alike character as an escape; shorten nothing.

    With `lines`, line feeds and tabs stay (for content shown in a block of its own). Without it they are escaped too,
    and so are leading, trailing and doubled spaces, so that a value can neither forge a second line nor hide a blank.
    """
    if (_PLAIN_LINES if lines else _PLAIN).match(text):
        shown = text
    else:
        tricks = _look_alikes(text)
        out: list[str] = []
        marks = 0
        for position, character in enumerate(text):
            if lines and character in "\n\t":
                out.append(character)
                marks = 0
                continue
            if not character.isascii() and _UCD.category(character) in ("Mn", "Me", "Mc"):
                marks += 1
                # A mark with nothing to sit on, an enclosing one, or a pile of them, hides what is beneath.
                bare = position == 0 or text[position - 1] == " " or _hidden(text[position - 1])
                heavy = bare or marks > _MARKS_IN_A_ROW or _UCD.category(character) == "Me"
            else:
                marks = 0
                heavy = False
            out.append(escape(character) if heavy or position in tricks or _hidden(character) else character)
        shown = "".join(out)
    if not lines and " " in shown:
        shown = _SPACES.sub(lambda run: escape(" ") * len(run.group()), shown)
    return shown


def reveal(shown: str) -> str:
    """The text `visible` was given: proof that nothing was lost on the way."""
    return re.sub(f"{OPEN}U\\+([0-9A-F]{{4,6}}){CLOSE}", lambda found: chr(int(found.group(1), 16)), shown)


_FORMULA = re.compile(r"\s*['=+\-@|%\uff1d\uff0b\uff0d\uff20]")
_DEFANG = re.compile(r"\[(?=\.|@|://)|://|(?<=[^\W_])\.(?=[^\W\d_])|(?<=\S)@(?=\S)")


def inert(text: str, where: str = "html", *, lines: bool = False) -> str:
    """Text from an agent, safe to place in one medium: "html", "terminal", "csv" or "mail".

    html: no markup can form, in an element or in a quoted attribute. terminal: no control sequence can form. csv: the
    cell is not a formula (a leading quote marks it; the csv writer still does the quoting). mail: no address or link
    becomes clickable. `lines` keeps line feeds and tabs. Raises ValueError for a medium it does not know.
    """
    if where == "html":
        return html.escape(visible(text, lines=lines), quote=True)
    if where == "terminal":
        return visible(text, lines=lines)
    if where == "csv":
        shown = visible(text, lines=lines)
        return "'" + shown if _FORMULA.match(shown) else shown
    if where == "mail":
        return _DEFANG.sub(
            lambda hit: escape("[") if hit.group() == "[" else f"[{hit.group()}]", visible(text, lines=lines)
        )
    raise ValueError(f"There is no medium called {where!r}: use html, terminal, csv or mail.")
