"""Where results come from: how they were made, what the study assumes, what stands above all."""

from __future__ import annotations

from bakeoff.analysis import words
from bakeoff.analysis.result import Results, Run, Verdict


def banner(results: Results) -> str:
    """What stands above everything else; empty where nothing does."""
    if "none" not in (results.provenance.get("sandboxes") or []):
        return ""
    return (
        "Model-written code ran UNPROTECTED, with no sandbox (--unsafe-no-sandbox): it could tamper with its verdicts "
        "and with this machine's files."
    )


ASSUMED_EXPLAINED = "Of the study as it is written: what a run changed (--set, --limit) may make some of it untrue."


def assumed(results: Results) -> list[str]:
    """What the study says it assumes (its `notes:`)."""
    return [str(note) for note in (results.provenance.get("notes") or {}).get("study") or []]


def how_it_ran(results: Results) -> list[tuple[str, str]]:
    """Provenance as label and text, in the order a reader asks for it; what is unknown is left out."""
    how = results.provenance

    def joined(name: str) -> str:
        return ", ".join(str(one) for one in how.get(name) or [])

    started = [how.get("first_started"), how.get("last_started")]
    versions = ", ".join(f"{name} {'/'.join(found)}" for name, found in (how.get("versions") or {}).items())
    rows = [
        ("bakeoff", str(how.get("bakeoff") or "")),
        ("trials", f"{how.get('trials_stored')} of {how.get('trials_planned')} stored"),
        ("engine", joined("engines")),
        ("executor", joined("executors")),
        ("group size", joined("group_sizes")),
        ("device", joined("devices")),
        ("threads", joined("threads")),
        ("weights held in", joined("dtypes")),
        ("platform", joined("platforms")),
        ("sandbox of model-written code", joined("sandboxes")),
        ("versions", versions),
        ("BLEU (sacrebleu)", joined("signatures")),
        ("model weights (sha256)", joined("weights")),
        ("dataset (sha256)", joined("datasets")),
        ("trials started", " to ".join(dict.fromkeys(str(one) for one in started if one))),
    ]
    rows += [("data", source["told"]) for source in (how.get("notes") or {}).get("data") or []]
    overlaps = how.get("overlaps") or {}
    rows += [("training and test data", words.overlap(place, **found)) for place, found in overlaps.items()]
    return [(label, text) for label, text in rows if text]


def commands(results: Results) -> list[tuple[str, str]]:
    """What to type in the study's directory to get all this again, each line with what it does."""
    told = [
        ("bakeoff plan study.yaml", "what would be trained, and how much"),
        ("bakeoff run study.yaml --out .", "trains and judges what is missing"),
        ("bakeoff report .", "writes this report again"),
    ]
    best = next((verdict for verdict in results.verdicts if verdict.winner), None)
    run = next((run for run in results.trials if best and _made(run, best)), None)
    if run:
        name = run.key[:12]
        told += [
            (f"bakeoff try . {name}", f"talks to {run.method}, trained on {run.task}"),
            (f"bakeoff export . {name} --to peft --out winner", "its adapter for others"),
        ]
    return told


def _made(run: Run, best: Verdict) -> bool:
    return (run.model, run.task, run.method, run.status) == (best.model, best.task, best.winner, "done")
