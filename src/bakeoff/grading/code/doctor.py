"""Doctor: every tier of sandbox, tried on this machine, with the reason why one does not work."""

from __future__ import annotations

import os
import platform
import sys

from bakeoff.grading.code import tiers
from bakeoff.grading.code.grader import works

ABOUT = {
    "bubblewrap": "namespaces, seccomp, no capabilities",
    "landlock": "Landlock, seccomp, a user of its own",
}


def examine() -> tuple[list[str], bool]:
    """Lines for a person, and whether model-written code can be run here."""
    who = "root" if os.geteuid() == 0 else "an ordinary user"
    lines = [f"Python {sys.version.split()[0]} on {platform.platform()}, as {who}"]
    chosen = ""
    for tier in tiers.PROTECTED:
        with tiers.files(tier) as folder:
            slot, reason = works(tier, folder)
            if slot is not None:
                slot.close()
        chosen = chosen or (tier if slot else "")
        lines.append(f"sandbox {tier} ({ABOUT[tier]}): {'works' if slot else f'no: {reason}'}")
    if chosen:
        lines.append(f"Model-written code runs in: {chosen}")
        if tiers.missing(tiers.PROTECTED[0]):
            lines.append(f"For the stronger one, {tiers.INSTALL}")
    else:
        lines.append(f"Model-written code is refused here: {tiers.INSTALL}, or run it unprotected with {tiers.UNSAFE}")
    return lines, bool(chosen)
