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
        start = time.perf_counter(), time.process_time()
        found = results(store)
        took = [_told("analysis", start)]
        for name, made in FORMATS.items():
            start = time.perf_counter(), time.process_time()
            files = made(found)
            took.append(_told(f"{name}, {sum(map(len, files.values())) / 1000:,.0f} kB", start))
    wall, cpu = (sum(column) for column in zip(*took, strict=True))
    print(f"{asked.methods * asked.seeds} trials x {asked.items} items: {wall:.1f} s, of which {cpu:.1f} s on the CPU")


def _told(what: str, start: tuple[float, float]) -> tuple[float, float]:
    """Seconds by the clock and on the CPU since `start`, said."""
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    print(f"  {what}: {wall:.2f} s, of which {cpu:.2f} s on the CPU")
    return wall, cpu


if __name__ == "__main__":
    main()
