"""How long a report of many trials takes: a made-up study, timed step by step.

python scripts/report_time.py --methods 20 --seeds 5 --items 2000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from synthetic_store import bernoulli, make_store  # pyright: ignore[reportMissingImports]

from bakeoff.analysis.table import results
from bakeoff.report.write import FORMATS


def main() -> None:
    """Make the store, then time the analysis and every format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("methods", 20), ("seeds", 5), ("items", 2000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    names = [f"method-{i}" for i in range(asked.methods)]
    rate = {name: 0.5 + 0.4 * i / asked.methods for i, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as place:
        store = make_store(Path(place), bernoulli(rate, asked.items, 0.1), names, seeds=range(asked.seeds))
        start = time.perf_counter()
        found = results(store)
        total = _told("analysis", start)
        for name, made in FORMATS.items():
            start = time.perf_counter()
            files = made(found)
            total += _told(f"{name}, {sum(map(len, files.values())) / 1000:,.0f} kB", start)
    print(f"{asked.methods * asked.seeds} trials x {asked.items} items: {total:.1f} s")


def _told(what: str, start: float) -> float:
    seconds = time.perf_counter() - start
    print(f"  {what}: {seconds:.2f} s")
    return seconds


if __name__ == "__main__":
    main()
