"""Two formulas compared: read by math-verify's grammar, evaluated at points, else judged by math-verify itself.

Runs in a worker only (worker.py): what it is given may take for ever. Nothing is given to eval or to sympy's own
parser.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from typing import Any

import sympy
from latex2sympy2_extended.latex2sympy2 import NormalizationConfig, latex2sympy, normalize_latex
from math_verify import verify
from math_verify.grader import should_treat_as_complex
from sympy.core.function import AppliedUndef

LARGEST = 20_000.0  # digits of the largest power or factorial that is worked out
DIGITS = 40  # to which values are computed, beside those that the largest number in a formula has
SLACK = 10  # of them that may differ
POINTS = 6

# Units, boxes and equations have been seen to before: here they would only take away what counts.
NORMALIZATION = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=False, nits=True, boxed="none", equations=False
)


class Undecided(Exception):
    """Two formulas could not be compared, and why."""


def equal(gold: str, pred: str, notes: list[str]) -> bool:
    """Whether two clean formulas are equal, gold first. Undecided says that nobody could tell.

    What is no formula equals none; `notes` gets a line that says so.
    """
    a, b = read(gold), read(pred)
    if a is None or b is None:
        notes.append(f"{'gold' if a is None else 'the prediction'} cannot be read as a formula")
        return False
    precision = DIGITS + math.ceil(max((digits(part) for one in (a, b) for part in _scalars(one)), default=0))
    if _unfinished(a) or _unfinished(b):
        a, b = a.doit(), b.doit()
    found = _same(a, b, precision)
    if found is None:
        found = verify(a, b, strict=True, float_rounding=precision, timeout_seconds=None, raise_on_error=True)
        if not found and (_unfinished(a) or _unfinished(b)):
            raise Undecided("a sum, product, integral or limit in it could not be worked out")
    return bool(found)


def _unfinished(found: Any) -> bool:
    return found.has(sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit)


def read(text: str) -> Any:
    """A clean text as a sympy object that has not been evaluated; None for what the grammar does not know."""
    text = re.sub(r"\\text\{degrees\}", r" \\cdot \\frac{\\pi}{180} ", text.replace("\n", r"\\"))
    text = re.sub(r"(?<![\w.}])(\d+) ?(\\frac\{\d+\}\{\d+\})", r"(\1+\2)", text)  # a mixed number
    text = normalize_latex(text, NORMALIZATION)
    try:
        found = latex2sympy(text, is_real=not should_treat_as_complex(text), normalization_config=None)
    except (RecursionError, MemoryError):
        raise
    except Exception:  # the grammar's errors are plain Exceptions
        return None
    return _exact(found)


def _exact(found: Any) -> Any:
    """With decimals as fractions, i as the imaginary unit, percentages worked out, and logarithms to base e."""
    if isinstance(found, sympy.MatrixBase):
        return found.applyfunc(_exact)
    if not isinstance(found, sympy.Basic):
        return None
    found = found.replace(_has_base, lambda one: sympy.log(one.args[0]) / sympy.log(one.args[1]))
    new: dict[Any, Any] = {f: sympy.Rational(str(f)) for f in found.atoms(sympy.Float)}
    new |= {u: u.args[0] for u in found.atoms(sympy.UnevaluatedExpr)}
    new |= {s: sympy.I for s in found.atoms(sympy.Symbol) if s.name == "i"}
    return found.xreplace(new) if new else found


def _has_base(found: Any) -> bool:
    return isinstance(found, sympy.log) and len(found.args) == 2


def _scalars(found: Any) -> Iterator[Any]:
    """The formulas that an object holds."""
    if isinstance(found, sympy.MatrixBase):
        yield from found.flat()
    elif isinstance(found, sympy.Expr):
        yield found
    elif isinstance(found, sympy.Basic):
        for part in found.args:
            yield from _scalars(part)


def digits(found: Any) -> float:
    """A bound for the digits that working a formula out may take. Undecided where these are too many."""
    if isinstance(found, sympy.Rational):
        size = (abs(found.p).bit_length() + found.q.bit_length()) * math.log10(2)
    elif isinstance(found, sympy.Pow):
        size = digits(found.base) * _magnitude(found.exp)
    elif isinstance(found, sympy.factorial | sympy.gamma):
        size = digits(found.args[0]) * _magnitude(found.args[0])
    elif not found.args:
        size = 0.6  # a symbol's value at a point, or a constant
    elif isinstance(found, sympy.Mul):
        size = sum(digits(part) for part in found.args)
    else:
        size = max(digits(part) for part in found.args) + 1
    if size > LARGEST:
        raise Undecided("a number in it has too many digits to be worked out")
    return size


def _magnitude(found: Any) -> float:
    """A bound for a value's size."""
    return abs(float(found)) if isinstance(found, sympy.Rational) else 10 ** min(digits(found), 300.0)


# --- the same? True, False, or None where evaluation cannot tell ---


def _same(a: Any, b: Any, precision: int) -> bool | None:
    if isinstance(a, sympy.MatrixBase) and isinstance(b, sympy.MatrixBase):
        if a.shape != b.shape:
            return False
        verdicts = [_values(x, y, precision) for x, y in zip(a.flat(), b.flat(), strict=True)]
        return False if False in verdicts else None if None in verdicts else True
    if isinstance(a, sympy.Rel) and isinstance(b, sympy.Rel):
        return _relations(a, b, precision)
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        return _values(a, b, precision)
    return None


def _values(a: Any, b: Any, precision: int) -> bool | None:
    """Whether two formulas have the same values at some points; infinities are their own."""
    if a in _INFINITIES or b in _INFINITIES:
        return a == b
    compared = [_close(x, y, precision) for x, y in _evaluated(a, b, precision)]
    if False in compared:
        return False
    enough = 1 if not (a.free_symbols | b.free_symbols) else 3
    return True if compared.count(True) >= enough else None


def _relations(a: Any, b: Any, precision: int) -> bool | None:
    """Whether two equations or inequalities say the same, one being a constant times the other.

    Inequalities look the same way after multiplying with something positive, the other way else. None where they might
    be equivalent in some other manner.
    """
    turned = {">": "<", ">=": "<=", "<": ">", "<=": ">="}.get(a.rel_op, a.rel_op)
    sides = (a.lhs, a.rhs, b.lhs, b.rhs)
    if b.rel_op not in (a.rel_op, turned) or not all(isinstance(side, sympy.Expr) for side in sides):
        return None
    found = [(x, y) for x, y in _evaluated(a.lhs - a.rhs, b.lhs - b.rhs, precision) if x and y]
    if len(found) < 3:
        return None
    ratios = [x / y for x, y in found]
    if not all(_close(ratios[0], ratio, precision) for ratio in ratios[1:]):
        return False if a.rel_op in ("==", "!=") and _linear(a) and _linear(b) else None
    if a.rel_op in ("==", "!="):
        return True
    if not ratios[0].is_real:
        return None
    return bool(ratios[0] > 0) == (a.rel_op == b.rel_op)


def _linear(relation: Any) -> bool:
    """Whether a relation is linear in each of its symbols."""
    difference = sympy.expand(relation.lhs - relation.rhs)
    return difference.is_polynomial() and all(sympy.degree(difference, s) <= 1 for s in difference.free_symbols)


_INFINITIES = (sympy.oo, -sympy.oo, sympy.zoo)
_UNSURE = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Derivative, AppliedUndef, sympy.MatrixExpr)


def _evaluated(a: Any, b: Any, precision: int) -> Iterator[tuple[Any, Any]]:
    """The values of two formulas at the same points, where both have one; none for sums, integrals and the like.

    Negative points count only where both values are real: roots of negative numbers have several conventions.
    """
    if a.has(*_UNSURE) or b.has(*_UNSURE):
        return
    symbols = sorted(a.free_symbols | b.free_symbols, key=str)
    for point in range(POINTS if symbols else 1):
        at = {symbol: _coordinate(symbol.name, point) for symbol in symbols}
        x, y = (_value(formula, at, precision) for formula in (a, b))
        if x is not None and y is not None and (point < POINTS // 2 or (x.is_real and y.is_real)):
            yield x, y


def _coordinate(name: str, point: int) -> Any:
    """A fraction that nothing is likely to hold by chance: positive for the first half of the points."""
    size = sympy.Rational(zlib.crc32(f"{name} {point}".encode()) % 99_991 + 1_009, 31_013)
    return size if point < POINTS // 2 else -size


def _value(formula: Any, at: dict[Any, Any], precision: int) -> Any:
    """A value to so many digits; None where there is none, or it could not be told from 0."""
    try:
        found = (formula.subs(at) if at else formula).evalf(precision, maxn=10 * precision)
    except ZeroDivisionError:
        return None
    if not found.is_number or found.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        return None
    parts = found.as_real_imag()
    if not all(part.is_Float or part.is_Rational for part in parts):
        return None
    if any(part.is_Float and part and part._prec < 3 * (precision - SLACK) for part in parts):
        return None
    return found


def _close(x: Any, y: Any, precision: int) -> bool:
    """Whether two values differ in their last digits at most."""
    return bool(abs(x - y) * 10 ** (precision - SLACK) <= max(abs(x), abs(y)))
