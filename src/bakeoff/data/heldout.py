"""Held-out text: what no task of a study teaches, read to see what training makes a model forget."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from bakeoff.data.datasets import Sources, read
from bakeoff.errors import InputError
from bakeoff.study.spec import Forgetting, Frozen, canonical


class HeldOut(Frozen):
    """Texts and the content hash that stands for them in trials' keys."""

    texts: tuple[str, ...]
    fingerprint: str


def held_out(spec: Forgetting, sources: Sources) -> HeldOut:
    """The texts that `spec` asks for, `spec.limit` of them by a fixed draw; blank ones are left out.

    InputError as `datasets.read`, and where no text is left.
    """
    served = {spec.text: spec.text} if Path(spec.text).exists() else {}
    rows = read(spec.text, spec.split, {**served, **sources}, fields={spec.field: str}, config=spec.config)
    texts = [text for row in rows if (text := row[spec.field].strip())]
    if not texts:
        raise InputError("forgetting.text", f"{spec.text} holds no text in '{spec.field}'")
    if spec.limit < len(texts):
        texts = [texts[i] for i in sorted(random.Random(0).sample(range(len(texts)), spec.limit))]
    return HeldOut(texts=tuple(texts), fingerprint=hashlib.sha256(canonical(texts).encode()).hexdigest())
