"""Runs that are broken on purpose, resumed, and held against an undisturbed one. `pytest tests/faults -m "" -n 2`.

`server` forks the runs from a process that has torch loaded, `breaks` is what breaks them, `harness` starts and
compares them.
"""
