"""Template: a text made of a row's fields, in Jinja's sandbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bakeoff.errors import InputError, suggest

Row = Mapping[str, Any]


def _present(value: Any) -> Any:
    """What Jinja is to write; null is not written as "None", nor no number as "nan"."""
    if value is None:
        raise ValueError("a field is null")
    if isinstance(value, float) and value != value:
        raise ValueError("a field is NaN")
    return value


_JINJA = ImmutableSandboxedEnvironment(undefined=StrictUndefined, finalize=_present, keep_trailing_newline=True)


class Template:
    """Jinja's template over a row's fields. It may be no more than a field's name, which stands for its value.

    `where` is its place in the study, for messages. With `literal`, text without braces is just that text. Every
    mistake in a template or of a row is an InputError that names the template, the row's place and its fields.
    """

    def __init__(self, source: str, where: str, literal: bool = False):
        self.source, self.where, self.literal = source, where, literal
        try:
            self._whole = _JINJA.from_string(source)
            self._expression = _expression(source)
        except TemplateSyntaxError as error:
            raise InputError(where, f"is no template (line {error.lineno}: {error.message})") from None
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:  # the last three: nested too deeply
            raise InputError(where, f"is no template ({error})") from None

    def text(self, row: Row, place: str) -> str:
        """The text for a row, white space at its ends dropped; `place` says where the row stands."""
        if self._is_field(row, place):
            return str(self._filled(row, place, lambda row: _present(row[self.source]))).strip()
        return self._filled(row, place, self._whole.render).strip()

    def value(self, row: Row, place: str) -> Any:
        """The value of a field, or of a template that is one `{{ expression }}`; else the text."""
        if self._is_field(row, place):
            return self._filled(row, place, lambda row: _present(row[self.source]))
        if self._expression is None:
            return self.text(row, place)
        return self._filled(row, place, self._expression)

    def _is_field(self, row: Row, place: str) -> bool:
        """Whether the template is a field's name; InputError where it is neither that nor a template."""
        if self.literal or "{{" in self.source or "{%" in self.source:
            return False
        if self.source not in row:
            what = f"{self.source!r} is no field of {place} and no template"
            raise InputError(self.where, what, f"{suggest(self.source, row)} {_fields(row)}")
        return True

    def _filled(self, row: Row, place: str, evaluate: Callable[[Row], Any]) -> Any:
        try:
            return _defined(evaluate(row))
        except UndefinedError as error:
            raise InputError(self.where, f"{error.message} in {place}", _fields(row)) from None
        except Exception as error:  # a template is a program
            told = " ".join(f"{error}".split()) or type(error).__name__
            raise InputError(self.where, f"cannot be filled in from {place} ({told})", _fields(row)) from None


def _expression(source: str) -> Callable[[Row], Any] | None:
    """What a template computes that is `{{ one expression }}` and nothing else; None for any other."""
    inner = source.strip()
    if not (inner.startswith("{{") and inner.endswith("}}")):
        return None
    try:
        return _JINJA.compile_expression(inner[2:-2].strip("-+ \n"), undefined_to_none=False)
    except TemplateSyntaxError:  # `{{ a }} and {{ b }}`
        return None


def _defined(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)  # raises, naming what is undefined
    return value


def _fields(row: Row) -> str:
    return f"its fields: {', '.join(map(str, row))}"
