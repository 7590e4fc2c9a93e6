"""Mutants of HumanEval's solutions, and their verdicts by plain Python: each program in a process of its own.

python tests/mutants.py FILE.jsonl      prints a JSON list: whether each row's program runs to its end
"""

from __future__ import annotations

import ast
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

SECONDS = 3
SWAPPED: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Mod: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt,
    ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


def mutated(problem: dict[str, Any], number: int) -> str:
    """The problem's solution as a program with one operator, comparison or whole number changed, by a fixed draw."""
    tree = ast.parse(problem["prompt"] + problem["canonical_solution"])
    (function,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == problem["entry_point"])
    body = [node for statement in function.body[1:] or function.body for node in ast.walk(statement)]
    places = [node for node in body if _changeable(node)]
    if places:
        _change(random.Random(f"{problem['task_id']} {number}").choice(places))
    else:
        function.body.append(ast.Return(ast.Constant(None)))
    return "\n" + ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _changeable(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp | ast.BoolOp):
        return type(node.op) in SWAPPED
    if isinstance(node, ast.Compare):
        return type(node.ops[0]) in SWAPPED
    return isinstance(node, ast.Constant) and type(node.value) is int


def _change(node: ast.AST) -> None:
    if isinstance(node, ast.BinOp | ast.BoolOp):
        node.op = SWAPPED[type(node.op)]()
    elif isinstance(node, ast.Compare):
        node.ops[0] = SWAPPED[type(node.ops[0])]()
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        node.value += 1


def passes(row: dict[str, Any]) -> bool:
    """Whether prompt, completion and test run to their end in a new process of plain Python."""
    program = f"{row['prompt']}{row['completion']}\n{row['test']}\ncheck({row['entry_point']})\n"
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        try:
            exec(program, {"__name__": "program"})
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    print(json.dumps([passes(json.loads(line)) for line in Path(sys.argv[1]).read_text().splitlines()]))
