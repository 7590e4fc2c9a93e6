"""Notation: a mathematical answer without its typography, and what it is made of (number, unit, name, list, ...).

Everything here is text in, text or exact numbers out: nothing is evaluated as a formula.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 400  # digits of a number that is read as one
EXPONENT = 400  # the largest power of ten that is read as a number

# --- typography ---

_SYMBOLS = {
    "-": "\u2212\u2013\u2010\u2011\uff0d", "+": "\uff0b", "=": "\uff1d", "/": "\u00f7\u2215\u2044", "%": "\uff05",
    r"\cdot ": "\u00d7\u22c5\u00b7\u2217", r"\infty ": "\u221e", r"\le ": "\u2264\u2a7d", r"\ge ": "\u2265\u2a7e",
    r"\ne ": "\u2260", r"\cup ": "\u222a", r"\cap ": "\u2229", r"\pm ": "\u00b1\u2213", r"\in ": "\u2208",
    r"\emptyset ": "\u2205", r"^\circ ": "\u00b0", r"\sqrt ": "\u221a", r"\ldots ": "\u2026", r"\sum ": "\u2211",
    r"\int ": "\u222b", r"\approx ": "\u2248", r"\mathbb{R}": "\u211d", r"\mathbb{Z}": "\u2124",
    r"\mathbb{N}": "\u2115", r"\mathbb{Q}": "\u211a", "(": "\u27e8\uff08", ")": "\u27e9\uff09", ", ": "\uff0c\u3001",
    ";": "\uff1b", ".": "\u3002", "'": "\u2018\u2019\u2032", '"': "\u201c\u201d", r"\frac{1}{2}": "\u00bd",
    r"\frac{1}{3}": "\u2153", r"\frac{2}{3}": "\u2154",
    r"\frac{1}{4}": "\u00bc", r"\frac{3}{4}": "\u00be", "": "\u200b\ufeff\u200e\u2061",
}  # fmt: skip
_GREEK = r"""\alpha \beta \gamma \delta \epsilon \zeta \eta \theta \iota \kappa \lambda \mu \nu \xi \omicron \pi \rho
\varsigma \sigma \tau \upsilon \phi \chi \psi \omega"""  # in Unicode's order
_CHARACTERS = str.maketrans(
    {character: latex for latex, characters in _SYMBOLS.items() for character in characters}
    | {chr(0xFF10 + digit): str(digit) for digit in range(10)}
    | {chr(0x3B1 + place): f"{letter} " for place, letter in enumerate(_GREEK.split())}
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_FONTS = "text|textbf|textit|textrm|textsf|texttt|textnormal|mathrm|mathbf|mathit|mathsf|mathtt|mbox|hbox|operatorname"
_FONT = re.compile(rf"\\(?:{_FONTS}|boldsymbol|bm)\*?\s*\{{((?:[^{{}}]|\{{[^{{}}]*\}})*)\}}")
_FUNCTIONS = "sqrt|arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|log|ln|exp|pi|theta|infty"
_BARE = re.compile(rf"(?<![A-Za-z\\{{])((?:{_FUNCTIONS})(?![A-Za-z}}])|(?:sec|csc)(?=\())")
_CURRENCIES = {"$": "dollars", "€": "euros", "£": "pounds", "¥": "yen", "₹": "rupees"}
_CURRENCY = re.compile(r"\\?([$€£¥₹])\s*([+-]?(?:\d[\d,]*)?\.?\d+)")


def _rules(*pairs: tuple[str, str]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern), by) for pattern, by in pairs]


_SPACING = _rules(
    (r"(?<=\d)\\,(?=\d{3}(?!\d))|(?<=\d),?\\!\s*(?=\d)|(?<=\d)\{,\}(?=\d{3}(?!\d))", ","),  # 1\,018 10,\!000 1{,}018
    (r"(?<=\d)\{,\}(?=\d)", "."),  # 0{,}5
    (r"\\!|\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|mathstrut|bf|rm|it|sf)(?![A-Za-z])", ""),
    (r"\\[,;: ]|\\(?:q?quad|thinspace|enspace|newline)(?![A-Za-z])|~|\\[hv]space\*?\{[^{}]*\}", " "),
    (r"\\m?(?:left|right|middle)\.|\\m?(?:left|right|middle)(?![A-Za-z])|\\[bB]igg?[lrm]?(?![A-Za-z])", ""),
)
_SPELLING = _rules(
    (r"\\[dtc]frac", r"\\frac"),
    (r"\\[dt]binom", r"\\binom"),
    (r"\\lbrace(?![A-Za-z])", r"\\{"),
    (r"\\rbrace(?![A-Za-z])", r"\\}"),
    (r"\\lbrack(?![A-Za-z])", "["),
    (r"\\rbrack(?![A-Za-z])", "]"),
    (r"\\langle(?![A-Za-z])", "("),
    (r"\\rangle(?![A-Za-z])", ")"),
    (r"\\(?:[lr]?vert|mid)(?![A-Za-z])", "|"),
    (r"\\leq?(?:slant)?(?![A-Za-z])|<=|=<", r"\\le "),
    (r"\\geq?(?:slant)?(?![A-Za-z])|>=", r"\\ge "),
    (r"\\neq?(?![A-Za-z])|\s!=", r"\\ne "),
    (r"\\lt(?![A-Za-z])", "<"),
    (r"\\gt(?![A-Za-z])", ">"),
    (r"\\mp(?![A-Za-z])|\+/-|(?<![\w)}\]]) *\+-", r"\\pm "),
    (r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset "),
    (r"\\(?:times|ast|cdotp)(?![A-Za-z])", r"\\cdot "),
    (r"\\div(?![A-Za-z])", "/"),
    (r"\*\*", "^"),
    (r"(?<=\d) ?x ?(?=10 ?\^)", r"\\cdot "),
    (r"\\mathbb\{R\}\s*\^\s*\{?\+\}?", r"(0,\\infty)"),
    (r"\*", r"\\cdot "),
    (r"\\(?:l?dots|cdots|dotsc|dotsb)(?![A-Za-z])|\.{3,}", r"\\ldots "),
    (r"\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\(?:circ|degree)(?![A-Za-z]))|\\degree(?![A-Za-z])", r"\\text{degrees}"),
    (r"\\%", "%"),
    (r"\s*\\text\{\s*(?:percent|per cent|percentage)\s*\}|\s*\b(?:percent|per cent)\b", "%"),
    (r"\\text\{\s*(and|or)\s*\}", r" \1 "),
    (r"\\text\{\s*\}", " "),
    (r"\\text\{\s*([ei])\s*\}", r"\1"),
    (r"(?i)(?<![A-Za-z\\])(?:infinity|inf)(?![A-Za-z])", r"\\infty "),
    (r"(?<![\w})])\+\s*\\infty", r"\\infty"),
    (r"(?i)(?<![A-Za-z])(?:all )?real(?:s| numbers)(?![A-Za-z])", r"\\mathbb{R}"),
    (r"\((\d+)\)(?=\s*_)", r"\1"),
    (r"\\lg(?![A-Za-z])", r"\\log_{10}"),
    (r"\\pmod\s*\{([^{}]*)\}|\(\s*\\?b?mod(?![A-Za-z])\s*([^()]*)\)|\\bmod(?![A-Za-z])", r" \\mod \1\2"),
)


def clean(text: str) -> str:
    """An answer in one spelling: no dollars, boxes, fonts, sizes or spacing commands, no full stop at its end.

    A currency's sign becomes a unit behind the number; the end of a matrix's row becomes the end of a line.
    """
    text = _characters(text)
    if r"\begin" in text:
        text = re.sub(r"\\\\(?:\s*\[[^\]]*\])?", "\n", text)
    else:
        text = re.sub(r"\\\\(?=[A-Za-z])", lambda _: "\\", text).replace(r"\\", " ")
    text = _unboxed(_dollars(text))
    text = _FONT.sub(_font, _replaced(text, _SPACING))
    text = _replaced(_BARE.sub(r"\\\1 ", text), _SPELLING)
    return _trimmed(_braced_arguments(text))


def _replaced(text: str, rules: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, by in rules:
        text = pattern.sub(by, text)
    return text


def _characters(text: str) -> str:
    """Unicode's mathematical characters as LaTeX; what cannot be seen as a space."""
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+", lambda m: "^{" + m[0].translate(_RAISED) + "}", text)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda m: "_{" + m[0].translate(_LOWERED) + "}", text)
    return "".join(c if c.isprintable() else " " for c in text.translate(_CHARACTERS))


def _dollars(text: str) -> str:
    """Without bold and the signs around formulas; a currency before a number becomes a unit behind it."""
    text = re.sub(r"\\[()\[\]]|\$\$", "", text)
    text = re.sub(r"^\s*\*\*(.*)\*\*\s*$", r"\1", text)
    text = re.sub(r"(?<!\\)\$((?:[^$\\]|\\.)+)(?<!\\)\$", r"\1", text)
    text = _CURRENCY.sub(lambda m: rf"{m[2]}\text{{ {_CURRENCIES[m[1]]}}}", text)
    return re.sub(r"\\?\$", "", text)


def _unboxed(text: str) -> str:
    r"""`\boxed{x}` as x, also within other text."""
    while (found := re.search(r"\\f?box(?:ed)?\s*\{", text)) and (end := closing(text, found.end() - 1)) > 0:
        text = text[: found.start()] + text[found.end() : end] + text[end + 1 :]
    return text


def _font(found: re.Match[str]) -> str:
    r"""Any font as `\text{...}`; a function's name as its command, a letter in bold or italics as the letter."""
    inner, command = found[1].strip(), re.split(r"[{*\s]", found[0][1:])[0]
    if re.fullmatch(rf"{_FUNCTIONS}|sec|csc|gcd|lcm|max|min", inner) and not command.startswith("text"):
        return rf"\{inner} "
    if command in ("mathbf", "mathit", "boldsymbol", "bm") and len(inner) == 1:
        return inner
    return rf"\operatorname{{{inner}}}" if command == "operatorname" else rf"\text{{{inner}}}"


_TAKES = re.compile(r"\\frac(?![A-Za-z])|\\sqrt(?![A-Za-z])(?:\s*\[[^\]]*\])?|\^")
_ARGUMENT = re.compile(r"\s*(\\[A-Za-z]+|-?\d+|[A-Za-z])")


def _braced_arguments(text: str) -> str:
    r"""Every argument of `\frac`, `\sqrt` and `^` in braces: `\frac12`, `\sqrt(x)`, `x^(2)`, and `x^10` as meant."""
    place = 0
    while found := _TAKES.search(text, place):
        place = end = found.end()
        for _ in range(2 if found[0] == r"\frac" else 1):
            text, end = _braced(text, end, single=found[0] == r"\frac")
    return text


def _braced(text: str, start: int, single: bool) -> tuple[str, int]:
    """The text with the argument at `start` in braces, and where that ends; a `single` digit is an argument."""
    opened = start + len(text[start:]) - len(text[start:].lstrip())
    if text[opened : opened + 1] in ("{", "(") and (end := closing(text, opened)) > 0:
        if single and text[opened] == "(":
            return text, start
        return text[:start] + "{" + text[opened + 1 : end] + "}" + text[end + 1 :], end + 1 - (opened - start)
    if not (found := _ARGUMENT.match(text, start)):
        return text, start
    argument = found[1][:1] if single and found[1][0] != "\\" else found[1]
    return text[:start] + "{" + argument + "}" + text[found.start(1) + len(argument) :], start + len(argument) + 2


_ABOUT = re.compile(r"^(?:\\approx|approximately|about|roughly)(?![A-Za-z])|\(approximately\)$")


def _trimmed(text: str) -> str:
    """Without blanks and punctuation around it."""
    text = re.sub(r"[^\S\n]+", " ", text)
    while True:
        shorter = text.strip().strip('`"').removeprefix("=").removesuffix("\\").strip()
        shorter = shorter if shorter.endswith(r"\ldots") else re.sub(r"[.,;:]+$", "", shorter)
        whole = re.fullmatch(r"\\text\{([^{}]*)\}", shorter)
        shorter = _ABOUT.sub("", whole[1] if whole else shorter)
        if shorter == text:
            return text
        text = shorter


# --- brackets ---

_OPEN, _CLOSE = "([{", ")]}"


def closing(text: str, opened: int) -> int:
    """Where the bracket at `opened` is closed, whatever the shapes of the brackets between; -1 where it is not."""
    depth = 0
    for place in range(opened, len(text)):
        depth += (text[place] in _OPEN) - (text[place] in _CLOSE)
        if depth == 0:
            return place
    return -1


def split(text: str, separator: re.Pattern[str]) -> list[str]:
    """The parts of a text between separators that stand in no brackets and no environment."""
    parts, depth, start, place = [], 0, 0, 0
    while place < len(text):
        if depth == 0 and (found := separator.match(text, place)) and found.end() > place:
            parts.append(text[start:place])
            start = place = found.end()
            continue
        if text.startswith((r"\begin{", r"\end{"), place):
            depth += 1 if text.startswith(r"\begin{", place) else -1
            place = text.index("{", place)
        depth += (text[place] in _OPEN) - (text[place] in _CLOSE)
        place += 1
    return [part.strip() for part in [*parts, text[start:]]]


# --- numbers ---

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_NUMBER = re.compile(rf"([+-]?)(?:({_DIGITS})(\.\d*)?|(\.\d+))")
_FRACTION = re.compile(r"([+-]?)\\frac\{([^{}]+)\}\{([^{}]+)\}")
_WRAPPED = re.compile(r"\\(?:text|mathrm|textbf|mbox)\{([^{}]*)\}")
_MIXED = re.compile(r"([+-]?)(\d+)(?: ?\\frac\{(\d+)\}\{(\d+)\}| (\d+) ?/ ?(\d+))")
_SCIENTIFIC = re.compile(r"([+-]?)(?:([\d.,]+) ?\\cdot ?)?10\^\{([+-]?\d{1,4})\}|([+-]?)([\d.,]+)[eE]([+-]?\d{1,4})")
_REPEATING = re.compile(r"([+-]?\d*)\.(\d*?)(?:\\(?:overline|bar|dot)\{(\d+)\}|\((\d+)\)|(\d+?)\5{2,}\d?\\ldots)")
_BASED = re.compile(r"([0-9A-F]*\d[0-9A-F]*)_\{?(\d{1,2})\}?")
_WORDS = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_MULTIPLIED = re.compile(rf"(.*\d) ({'|'.join(_WORDS)})")


def normalise(text: str) -> str:
    """An answer without typography: spaces, dollars, the last full stop, \\left, \\!, \\text{...}, the d of \\dfrac."""
    text = re.sub(r"\\[!,;: ]|\\left(?![a-z])|\\right(?![a-z])|\\\(|\\\)|\\?\$|~", "", text)
    text = re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)  # "5 6" is not 56
    text = re.sub(r"\\[dt]frac", r"\\frac", text).replace("−", "-").replace("{,}", ",")  # noqa: RUF001
    text = _WRAPPED.sub(r"\1", text)
    return text.removesuffix(".").replace("\\%", "%")


def number(text: str) -> Fraction | None:
    """A plain number or a fraction of two as an exact value; None for anything else."""
    text = normalise(text)
    if len(text) > LONGEST:
        return None
    if fraction := _FRACTION.fullmatch(text):
        sign, above, below = fraction.groups()
        value = _ratio(above, below)
        return -value if value is not None and sign == "-" else value
    above, slash, below = text.partition("/")
    return _ratio(above, below) if slash else _decimal(text)


def value(text: str) -> Fraction | None:
    """The exact value of a clean text that writes one number in some way; None for anything else.

    Beside plain numbers and fractions: `50%` (1/2), mixed numbers, powers of ten, repeating decimals, numbers in a
    base (`1011_2`), thousands separated by blanks, and 2 million.
    """
    if len(text) > LONGEST:
        return None
    text = _unwrapped(text.strip())
    if text.endswith("%") and not text.endswith("%%"):
        of_hundred = value(text[:-1])
        return None if of_hundred is None else of_hundred / 100
    for read in (_plainly, _mixed, _scientific, _repeating, _based, _multiplied):
        if (found := read(text)) is not None:
            return found
    return None


def _unwrapped(text: str) -> str:
    """`(5)`, `{5}` and `-(5)` as 5 and -5."""
    while found := re.fullmatch(r"([+-]?) ?(?:\(([+-]?)([^(){}+,-]*)\)|\{([+-]?)([^(){}+,-]*)\})", text):
        outer, *inside = found.groups()
        sign, inner = inside[:2] if inside[1] is not None else inside[2:]
        text = ("-" if (outer == "-") != (sign == "-") else "") + inner.strip()
    return text


def _plainly(text: str) -> Fraction | None:
    if re.search(r",\s", text):
        return None  # a list
    return number(text.replace(" ", "") if re.fullmatch(r"[+-]?\d{1,3}(?: \d{3})+(?:\.\d+)?", text) else text)


def _mixed(text: str) -> Fraction | None:
    if not (found := _MIXED.fullmatch(text)):
        return None
    sign, whole, a, b, c, d = found.groups()
    part = _ratio(a or c, b or d)
    if part is None:
        return None
    return -(int(whole) + part) if sign == "-" else int(whole) + part


def _scientific(text: str) -> Fraction | None:
    if not (found := _SCIENTIFIC.fullmatch(text)):
        return None
    sign, factor, power = found.groups()[:3] if found[3] else found.groups()[3:]
    times = number(sign + (factor or "1"))
    return None if times is None or abs(int(power)) > EXPONENT else times * Fraction(10) ** int(power)


def _repeating(text: str) -> Fraction | None:
    if len(text) > 80 or not (found := _REPEATING.fullmatch(text.replace(" ", ""))):
        return None
    whole, first, *again = found.groups()
    period = next(part for part in again if part)
    size = Fraction(int(first or 0), 10 ** len(first))
    size += Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(first)) + int(whole.strip("+-") or 0)
    return -size if whole.startswith("-") else size


def _based(text: str) -> Fraction | None:
    if not (found := _BASED.fullmatch(text.replace(" ", ""))) or not 2 <= int(found[2]) <= 36:
        return None
    try:
        return Fraction(int(found[1], int(found[2])))
    except ValueError:  # a digit that the base does not have
        return None


def _multiplied(text: str) -> Fraction | None:
    if not (found := _MULTIPLIED.fullmatch(text)):
        return None
    times = number(found[1])
    return None if times is None else times * 10 ** _WORDS[found[2]]


def _ratio(above: str, below: str) -> Fraction | None:
    """One plain number divided by another; None where either is none, or the division has no value."""
    a, b = _decimal(above), _decimal(below)
    return None if a is None or not b else a / b


def _decimal(text: str) -> Fraction | None:
    """A decimal number, thousands separated or not, without an exponent."""
    if not _NUMBER.fullmatch(text):
        return None
    return Fraction(text.replace(",", "").removesuffix("."))


# --- what a clean text is made of ---

_SHORT_UNITS = (
    "m|g|s|h|L|cm|km|mm|nm|ft|in|yd|mi|kg|mg|ml|mL|oz|lb|lbs|hr|hrs|min|sec|sq|cu|am|pm|AM|PM|day|mph|kph|yen|cup|men"
    "|th|nd|rd|per"
)
_UNIT = rf"(?:[A-Za-z]{{4,}}|{_SHORT_UNITS})(?:\^\{{?\d\}}?)?"
_TEXT_UNIT = re.compile(
    r"(.*[\w)}\]%])\s*\\text\{\s*((?:[^{}]|\{[^{}]*\})*?)\s*\}(?:\s*(?:\^\s*\{?\d\}?|/\s*\\text\{[^{}]*\}(?:\^\{?\d\}?)?))?\s*[CF]?"
)
_WORD_UNIT = re.compile(rf"(.*[\d}}%])\s+({_UNIT}(?:[ /]+(?:{_UNIT}|[A-Za-z]{{1,3}})){{0,4}})")
_CLOSE_UNIT = re.compile(r"(.*\d)(km|cm|mm|kg|mg|ml|mL|cents?|ft|in|hours?|minutes?|seconds?|miles?|mph|th|nd|rd)")
_ANGLE = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_NO_UNITS = frozenset(("or", "and", "to", "if", "for", "not", "is", "mod", "where", "when", *_WORDS))
_NAME = re.compile(
    r"(?!.*\\(?:frac(?!\{d[A-Za-z]?\}\{d[a-z]\})|sqrt|binom|log|ln|exp|sin|cos|tan))(?:[A-Za-z]|\\[A-Za-z]+|\()"
    r"[A-Za-z0-9\\{}_', ]*(?:\^\{-1\})?(?:\([A-Za-z0-9, ]*\))?\)?"
)
_RELATION = re.compile(r"\\(?:le|ge|ne|approx|equiv|in|subset\w*|notin)(?![A-Za-z])|[<>=]")
_COMMA = re.compile(r"[,;]\s*(?:and\b|or\b)?|\s(?:and|or)\s")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def plain(text: str) -> str:
    """A clean text for comparison letter by letter: no blanks, no needless braces, words without capitals."""
    text = re.sub(r"([_^])\{([\w])\}", r"\1\2", normalise(text.replace("\n", "&&")))
    return text.casefold() if words(text) else text


def words(text: str) -> bool:
    """Whether a text is words alone, three letters or more."""
    return bool(re.fullmatch(r"[A-Za-z][A-Za-z' -]+[A-Za-z]", text))


def measure(text: str) -> tuple[str, str]:
    """A clean text without the unit at its end, and the unit; the whole text and "" where there is none."""
    unit = ""
    while found := _with_unit(text):
        unit = re.sub(r"\\text|[^A-Za-z0-9]", "", text[found.end(1) :]).casefold()
        text = found[1].strip()
    return text, unit


def _with_unit(text: str) -> re.Match[str] | None:
    for pattern in (_TEXT_UNIT, _WORD_UNIT, _CLOSE_UNIT):
        if (found := pattern.fullmatch(text)) and not _NO_UNITS & set(found[2].split()) and found[1].strip("+- "):
            return None if "degrees" in found[2] and _ANGLE.search(found[1]) else found
    return None


def unnamed(gold: str, pred: str) -> tuple[str, str]:
    """Two clean texts without the name that only one of them gives the answer, or both the same: `x=3` and `3`."""
    (a, left), (b, right) = named(gold), named(pred)
    if a and b:
        return (left, right) if plain(a) == plain(b) else (gold, pred)
    if a and not _RELATION.search(pred):
        return left, pred
    if b and not _RELATION.search(gold):
        return gold, right
    return (gold if _RELATION.search(pred) else _result(gold)), (pred if _RELATION.search(gold) else _result(pred))


def named(text: str) -> tuple[str, str]:
    """A name and what it is said to be; "" and the whole text where none is named."""
    parts = split(text, re.compile(r"=|\\(?:in|approx)(?![A-Za-z])"))
    if len(parts) == 2 and _NAME.fullmatch(parts[0]) and not _RELATION.search(parts[1]) and parts[1]:
        return parts[0], parts[1]
    return "", text


def _result(text: str) -> str:
    """What stands behind the last equals sign of a chain that begins with a name or holds no letters before it."""
    parts = split(text, re.compile("="))
    begins = _NAME.fullmatch(parts[0]) or not re.search("[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", parts[0]))
    chained = len(parts) > 1 and begins and parts[-1] and not re.search(r"[<>]|\\[lgn]e ", text)
    return parts[-1] if chained and len(_listed(text)) == 1 else text


_OPENS, _SHUTS = {"<": "(", r"\le": "["}, {"<": ")", r"\le": "]"}
_TURNED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}
_CHAIN = re.compile(r"(.*?) ?(<|>|\\[lg]e(?![A-Za-z])) ?(.*)")


_BUILDER = re.compile(r"\\\{ ?([A-Za-z])(?: ?\\in ?\\mathbb\{R\})? ?[|:] ?(.*\1.*)\\\}")


def interval(text: str) -> str:
    r"""`1<x\le 3` as `(1,3]`, `x>2` as `(2,\infty)`, `|x|<2` as `(-2,2)`, several with "or" as their union.

    Any other text is returned as it is.
    """
    builder = _BUILDER.fullmatch(text)
    parts = split(builder[2] if builder else text, re.compile(r"(?:[,;]\s*)?\s*(?:\bor\b)\s*"))
    found = [_interval(part) for part in parts]
    return r"\cup ".join(found) if all(found) else text  # pyright: ignore[reportArgumentType, reportCallIssue]


def _interval(text: str) -> str:
    """The interval that one inequality, or a chain of two, says a letter lies in; empty where it does not."""
    if not (first := _CHAIN.fullmatch(text.strip())):
        return ""
    left, sign, right = first.groups()
    if sign not in _OPENS and not _CHAIN.fullmatch(right):
        left, sign, right = right, _TURNED[sign], left  # from the smaller to the larger
    if second := _CHAIN.fullmatch(right):
        middle, other, right = second.groups()
        if sign not in _OPENS:
            left, sign, other, right = right, _TURNED[other], _TURNED[sign], left
        chained = sign in _OPENS and other in _OPENS and _variable(middle)
        return f"{_OPENS[sign]}{left},{right}{_SHUTS[other]}" if chained else ""
    if _variable(left):
        return rf"(-\infty,{right}{_SHUTS[sign]}"
    if _variable(right):
        return rf"{_OPENS[sign]}{left},\infty)"
    if re.fullmatch(r"\|[A-Za-z]\|", left):
        return f"{_OPENS[sign]}-({right}),{right}{_SHUTS[sign]}"
    return ""


def _variable(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z]|\\(?:theta|alpha|lambda)", text.strip()))


def exactly(gold: str, pred: str) -> str:
    r"""A prediction that gives a value and its approximation, `\sqrt{2} \approx 1.41`, as whichever gold can be."""
    left, *rounded = split(pred, re.compile(r"\\approx(?![A-Za-z])"))
    if len(rounded) != 1 or not left or _NAME.fullmatch(left) or r"\approx" in gold:
        return pred
    return rounded[0] if "." in gold else left


def choice(gold: str, pred: str) -> str:
    """A prediction that gives a choice's letter and its text, as whichever of the two gold is."""
    found = re.fullmatch(r"(?:\\text\{)?(?:\(([A-H])\)|([A-H])[).:])\}? ?(.+)", pred)
    if not found:
        return pred
    return (found[1] or found[2]) if re.fullmatch(r"\(?[A-H]\)?", gold) else found[3]


@dataclass(frozen=True, slots=True)
class Shape:
    """How a clean text holds its parts.

    `kind`: "one", "list" (bare, order free), "{}" (a set), "()" "[]" "(]" "[)" (ordered), "union", or "matrix" with
    its number of columns.
    """

    kind: str
    parts: tuple[str, ...]


def shape(text: str) -> Shape:
    """Take a clean text apart, one level deep."""
    if value(measure(text)[0]) is not None:
        return Shape("one", (text,))
    if len(parts := split(text, re.compile(r"\\cup(?![A-Za-z])|(?<=[)\]}]) U (?=[(\[\\])"))) > 1:
        return Shape("union", tuple(parts))
    if len(parts := _listed(text)) > 1:
        return Shape("list", tuple(parts))
    if matrix := re.fullmatch(r"\\begin\{([pbB]?matrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}", _bare(text), re.DOTALL):
        rows = [split(row, re.compile("&")) for row in matrix[2].strip().split("\n") if row.strip()]
        return Shape(f"matrix{len(rows[0]) if rows else 0}", tuple(cell for row in rows for cell in row))
    if bracketed := _bracketed(text):
        return bracketed if len(bracketed.parts) > 1 or bracketed.kind == "{}" else shape(_inmost(text))
    if len(parts := re.split(r"\\pm(?![A-Za-z])", text)) == 2:
        return Shape("list", tuple(sign.join(parts).strip() for sign in "+-"))
    return Shape("one", (text,))


def _listed(text: str) -> list[str]:
    """The parts between commas, semicolons, "and" and "or"; commas of thousands where others have a blank behind."""
    if re.search(r"[,;] |;| (?:and|or) ", text):
        text = _THOUSANDS.sub("", text)
    return [part for part in split(text, _COMMA) if part] or [text]


def _bare(text: str) -> str:
    """A matrix without the brackets around its environment."""
    found = re.fullmatch(r"[\[(]\s*(\\begin\{(?:matrix|array)\}.*\\end\{(?:matrix|array)\})\s*[\])]", text, re.DOTALL)
    return found[1] if found else text


def _inmost(text: str) -> str:
    """What stands in however many round or square brackets around the whole text."""
    while (found := _bracketed(text)) and len(found.parts) == 1 and found.kind != "{}":
        text = found.parts[0]
    return text


def _bracketed(text: str) -> Shape | None:
    """The parts in the brackets around the whole text; None where it stands in none."""
    opened = 2 if text.startswith(r"\{") else 1
    if not text or text[opened - 1 : opened] not in tuple(_OPEN) or closing(text, opened - 1) != len(text) - 1:
        return None
    inner = text[opened : -2 if text.endswith(r"\}") else -1].strip()
    if not inner or (opened == 2 and re.search(r"[|:]", inner)):
        return None
    return Shape("{}" if opened == 2 else text[0] + text[-1], tuple(_listed(inner)))
