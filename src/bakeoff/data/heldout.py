"""Held-out text: what no task of a study teaches, read to see what training makes a model forget."""

from __future__ import annotations

import hashlib

from bakeoff.data.datasets import Source, Sources, read
from bakeoff.data.sample import subset
from bakeoff.errors import InputError
from bakeoff.study.spec import Forgetting, Frozen, canonical


class HeldOut(Frozen):
    """Texts, the content hash that stands for them in trials' keys, and what they were read from."""

    texts: tuple[str, ...]
    fingerprint: str
    source: Source


def held_out(spec: Forgetting, sources: Sources) -> HeldOut:
    """The texts that `spec` asks for, `spec.limit` of them by a fixed draw; blank ones are left out.

    InputError as `datasets.read`, and where no text is left.
    """
    rows = read(spec.text, spec.split, sources, fields={spec.field: str}, config=spec.config)
    texts = [text for row in rows if (text := row[spec.field].strip())]
    if not texts:
        raise InputError("forgetting.text", f"{spec.text} holds no text in '{spec.field}'")
    texts = subset(texts, spec.limit)
    digest = hashlib.sha256(canonical(texts).encode()).hexdigest()
    return HeldOut(texts=tuple(texts), fingerprint=digest, source=rows.source)
