"""Audits of results tables: exact arithmetic against brute force, tests against scipy, and the command line."""

from __future__ import annotations

import csv
import io
import json
import math
from decimal import Decimal
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats
from test_cli import call

from bakeoff.analysis import attainable, parameters, printed
from bakeoff.analysis import statistics as st
from bakeoff.analysis.audit import audit, contrast, contrasts
from bakeoff.analysis.pass_at_k import pass_at_k
from bakeoff.errors import InputError

HEAD = "task,benchmark,method,metric,value,n,k,trainable_percent,model"


def rows(*lines: str) -> list[printed.Row]:
    return printed.parse("\n".join([HEAD, *lines]), "made.csv")


def verdicts(*lines: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in audit(rows(*lines)).findings:
        found.setdefault(finding.check, []).append(finding.verdict)
    return found


# --- what counts can give ---


@given(some.integers(1, 3000), some.data(), some.integers(1, 5))
def test_a_rounded_share_of_n_is_attainable_and_names_its_count(n, data, places):
    c = data.draw(some.integers(0, n))
    value = round(Decimal(c) / n, places)
    assert c in attainable.counts(value, n)
    assert n in attainable.sizes([value], n)


@given(some.integers(1, 60), some.integers(0, 100))
def test_counts_are_those_that_round_to_the_value(n, percent):
    value = Decimal(percent).scaleb(-2)
    wanted = [c for c in range(n + 1) if abs(200 * c - 2 * percent * n) <= n]  # |c/n - value| <= half of 0.01
    assert list(attainable.counts(value, n)) == wanted


@pytest.mark.parametrize(("items", "draws", "k"), [(3, 2, 2), (4, 3, 2), (3, 6, 5), (5, 4, 1), (2, 7, 5)])
def test_pass_at_k_is_attainable_exactly_where_some_answers_give_it(items, draws, k):
    each = [pass_at_k(draws, c, k) for c in range(draws + 1)]
    means = {sum(chosen) / items for chosen in product(each, repeat=items)}
    for thousandths in range(1001):
        value = Decimal(thousandths).scaleb(-3)
        wanted = any(abs(mean - float(value)) <= 0.0005 + 1e-12 for mean in means)
        assert attainable.pass_at_k(value, items, draws, k) == wanted


def test_pass_at_k_needs_k_draws_and_a_fine_grid_is_not_enumerated():
    with pytest.raises(ValueError, match="pass@5 from 4 draws"):
        attainable.pass_at_k(Decimal("0.5"), 10, 4, 5)
    assert attainable.pass_at_k(Decimal("0.1234"), 5000, 40, 5)


@given(some.integers(1, 12), some.integers(0, 12), some.integers(0, 12))
def test_confusions_are_every_table_that_gives_the_printed_measures(positives, tp, fp):
    negatives = 12
    n, tp, fp = positives + negatives, min(tp, positives), min(fp, negatives)
    measure = _measures(tp, fp, positives, negatives)
    told = [round(Decimal(value), 3) for value in measure]
    every = product(range(positives + 1), range(negatives + 1))
    wanted = {
        pair
        for pair in every
        if all(
            abs(x - float(y)) <= 0.0005 + 1e-12
            for x, y in zip(_measures(*pair, positives, negatives), told, strict=True)
        )
    }
    assert (tp, fp) in wanted
    found = attainable.confusions(n, positives, *told)
    assert {(one.tp, one.fp) for one in found} == wanted
    assert all(sum(one) == n and one.tp + one.fn == positives for one in found)


def _measures(tp: int, fp: int, positives: int, negatives: int) -> tuple[float, float, float, float]:
    return (
        (tp + negatives - fp) / (positives + negatives),
        tp / max(tp + fp, 1),
        tp / positives,
        2 * tp / max(tp + fp + positives, 1),
    )


# --- tests from counts alone ---


@given(some.integers(1, 60), some.integers(1, 60), some.data())
def test_fisher_is_scipys(n, m, data):
    a, b = data.draw(some.integers(0, n)), data.draw(some.integers(0, m))
    wanted = float(stats.fisher_exact([[a, n - a], [b, m - b]])[1])  # pyright: ignore[reportArgumentType]
    assert st.fisher(a, n, b, m) == pytest.approx(wanted, rel=1e-6)


@given(some.integers(1, 25), some.data())
def test_mcnemar_of_every_pairing_lies_between_the_best_and_the_worst(n, data):
    b = data.draw(some.integers(0, n))
    a = data.draw(some.integers(b, n))
    pair = contrast(*(_row(f"m{i}", Decimal(c) / n, n) for i, c in enumerate((a, b))))
    both = range(max(0, a + b - n), min(a, b) + 1)  # items that both have right
    every = [st.mcnemar(*_paired(a, b, n, common)).p for common in both]
    assert min(every) == pytest.approx(pair.p_best)
    assert max(every) == pytest.approx(pair.p_worst)


def _row(method: str, value: Decimal, n: int) -> printed.Row:
    return printed.Row(2, "t", "b", method, "accuracy", value, n=n)


def _paired(a: int, b: int, n: int, both: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.zeros(n), np.zeros(n)
    x[:a] = 1
    y[:both] = 1
    y[a : a + b - both] = 1
    return x, y


def test_newcombes_published_intervals():
    """Table II of Newcombe 1998: 56/70 - 48/80 and 9/10 - 3/10 by method 10."""
    assert st.newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert st.newcombe(9, 10, 3, 10) == pytest.approx((0.1705, 0.8090), abs=5e-5)


def test_holm_is_over_all_pairs_of_the_table():
    table = rows("t,b,x,accuracy,0.80,100,,,", "t,b,y,accuracy,0.60,100,,,", "t,c,x,accuracy,0.50,100,,,",
                 "t,c,y,accuracy,0.49,100,,,")  # fmt: skip
    found = contrasts(table)
    assert [one.family for one in found] == [2, 2]
    assert found[0].p_holm == pytest.approx(2 * found[0].p) and found[1].p_holm == pytest.approx(found[1].p)


# --- the checks of a table ---


def test_each_check_finds_what_it_is_for():
    assert verdicts("t,aime,x,accuracy,0.02,30,,,")["grid"] == ["impossible as stated"]
    assert verdicts("t,aime,x,accuracy,0.10,30,,,")["grid"] == ["consistent"]
    assert verdicts("t,b,x,accuracy,0.10,,,,")["grid"] == ["cannot be decided"]
    assert verdicts("t,b,x,pass@1,0.500,10,,,", "t,b,x,pass@5,0.400,10,10,,")["pass@k"][-1] == "impossible as stated"
    assert verdicts("t,b,x,pass@1,0.100,10,,,", "t,b,x,pass@5,0.900,10,10,,")["pass@k"][-1] == "impossible as stated"
    assert verdicts("t,b,x,pass@5,0.9,10,3,,")["pass@k"] == ["impossible as stated"]
    assert verdicts("t,b,x,pass@5,0.8523,164,5,,")["pass@k"] == ["impossible as stated"]
    assert verdicts("t,b,x,pass@5,0.8523,164,,,")["pass@k"] == ["cannot be decided"]  # nobody said from how many draws
    prefix = ("t,b,x,accuracy,0.5000,1000,,,", "t,b,x,precision,0.5000,1000,,,", "t,b,x,f1,0.6667,1000,,,")
    assert verdicts(*prefix)["constant"] == ["consistent"]
    assert verdicts(*prefix)["confusion"] == ["consistent"]
    wrong = ("t,b,x,accuracy,0.900,1000,,,", "t,b,x,precision,0.400,1000,,,", "t,b,x,f1,0.900,1000,,,")
    assert verdicts(*wrong)["confusion"] == ["impossible as stated"]
    assert verdicts("t,b,x,accuracy,0.80,50,,,", "t,b,y,accuracy,0.70,50,,,")["best"] == ["not separable"]
    assert verdicts("t,b,x,accuracy,0.80,500,,,", "t,b,y,accuracy,0.60,500,,,")["best"] == ["consistent"]
    assert verdicts("t,b,x,accuracy,0.79,,,,", "t,b,x,accuracy,0.7980,,,,")["digits"] == ["false"]
    assert verdicts("t,b,x,accuracy,0.80,,,,", "t,b,x,accuracy,0.7980,,,,")["digits"] == ["consistent"]
    assert verdicts("t,b,x,accuracy,0.7088,,,,", "t,b,y,loss,0.7088,,,,")["repeated"] == ["cannot be decided"]
    assert verdicts("t,b,lora,loss,1.0,,,0.0136,gpt2")["parameters"] == ["cannot be decided"]
    assert verdicts("t,b,prompt,loss,1.0,,,0.6530,gpt2")["parameters"] == ["impossible as stated"]
    assert verdicts("t,b,prefix,loss,1.0,,,11.8784,gpt2")["parameters"] == ["consistent"]
    assert verdicts("t,b,lora,loss,1.0,,,0.2364,")["parameters"] == ["cannot be decided"]


def test_a_coarser_grid_is_remarked_where_chance_would_hardly_give_it():
    five = [f"t,b,m{i},accuracy,{c / 50:.4f},500,,," for i, c in enumerate((23, 30, 31, 18, 34))]
    text = next(f.text for f in audit(rows(*five)).findings if f.verdict == "cannot be decided")
    assert "the 5 values of n = 500 lie on the grid of 50 items too (chance 1e-05)" in text
    assert "grid" in verdicts(*five[:1]) and verdicts(*five[:1])["grid"] == ["consistent"]


def test_an_honest_table_has_no_finding_against_it():
    rng = np.random.default_rng(0)
    lines = []
    for method in "abcd":
        right = rng.random((500, 6)) < rng.uniform(0.2, 0.9)
        passed = right.sum(axis=1)
        lines.append(f"t,b,{method},pass@1,{passed.mean() / 6:.4f},500,6,,")
        lines.append(f"t,b,{method},pass@5,{np.mean([pass_at_k(6, int(c), 5) for c in passed]):.4f},500,6,,")
    found = audit(rows(*lines)).findings
    assert {finding.verdict for finding in found if finding.check in ("grid", "pass@k")} == {"consistent"}


# --- parameters ---


@pytest.mark.parametrize("name", ["gpt2", "deepseek-r1-distill-qwen-1.5b"])
def test_the_closed_forms_are_the_methods_own(name):
    """Sizes and counts against transformers' architectures and our methods, without weights."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

    from bakeoff.methods.method import build
    from bakeoff.models.backbone import Backbone

    shape = parameters.SHAPES[name]
    with torch.device("meta"):
        if name == "gpt2":
            model = GPT2LMHeadModel(GPT2Config())
        else:
            sizes: dict[str, Any] = dict(
                vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28
            )
            model = Qwen2ForCausalLM(Qwen2Config(**sizes, num_attention_heads=12, num_key_value_heads=2))
    backbone = Backbone(model, None, name)
    assert backbone.parameters() == shape.base
    for names in (list(shape.modules)[:1], list(shape.modules)[1:3], list(shape.modules)):
        config = {"r": 4, "target_modules": names}
        assert build("lora", config).parameters(backbone) == shape.lora(4, names)
    assert build("prompt_tuning", {"num_virtual_tokens": 9}).parameters(backbone) == shape.prompt(9)
    assert build("prefix_tuning", {"num_virtual_tokens": 9}).parameters(backbone) == shape.prefix(9)


def test_settings_are_searched_by_their_printed_digits():
    assert len(parameters.settings("gpt2")) == 16_620
    found = parameters.matches(Decimal("0.2364"), "gpt2")
    assert "LoRA r=8 on c_attn: 294,912 of base + adapter 124,734,720" in map(str, found)
    assert parameters.shape_of("openai-community/GPT2") is parameters.SHAPES["gpt2"]
    assert parameters.family_of("lora[r=4]") == "lora" and parameters.family_of("lora+prompt") is None


# --- reading ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "t.csv:1: no column 'task'; a table needs task, benchmark, method, metric, value"),
        ("task,benchmark,method,metric\n", "t.csv:1: no column 'value'"),
        (f"{HEAD},valu\n", "t.csv:1: unknown column 'valu'; did you mean 'value'?"),
        (f"{HEAD},n\n", "t.csv:1: the column 'n' is there twice"),
        (f"{HEAD}\n", "t.csv: holds no rows"),
        (f"{HEAD}\nt,b,x,accuracy,0.5,10,,\n", "t.csv:2: 8 fields where the header names 9"),
        (f"{HEAD}\nt,b,x,accuracy,0.5,10,,,\n,b,x,accuracy,0.5,10,,,\n", "t.csv:3, column 'task': is empty"),
        (
            f"{HEAD}\nt,b,x,accuracy,79.8,10,,,\n",
            "t.csv:2, column 'value': 79.8 of accuracy lies outside 0 to 1; write",
        ),
        (f"{HEAD}\nt,b,x,accuracy,good,10,,,\n", "t.csv:2, column 'value': 'good' is no number"),
        (f"{HEAD}\nt,b,x,accuracy,nan,10,,,\n", "t.csv:2, column 'value': 'nan' is no number"),
        (f"{HEAD}\nt,b,x,loss,1e-900000,10,,,\n", "t.csv:2, column 'value': '1e-900000' is no number"),
        (f"{HEAD}\nt,b,x,accuracy,0.5,many,,,\n", "t.csv:2, column 'n': 'many' is no whole number"),
        (f"{HEAD}\nt,b,x,accuracy,0.5,0,,,\n", "t.csv:2, column 'n': '0' is no whole number"),
        (f"{HEAD}\nt,b,x,accuracy,0.5,10,,101,\n", "t.csv:2, column 'trainable_percent': 101 is no percentage"),
        (f'{HEAD}\nt,b,"x,accuracy,0.5,10,,,\n', "t.csv:2: no CSV ("),
    ],
)
def test_a_bad_table_is_one_line_with_file_line_and_column(tmp_path, monkeypatch, capsys, text, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(text)
    assert call(monkeypatch, "audit", "--table", "t.csv") == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert told.err.startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one of STUDY, `paper` and --table FILE.csv is needed"),
        (["paper", "--table", "t.csv"], "one of STUDY, `paper` and --table FILE.csv is needed"),
        (["--table", "absent.csv"], "error: absent.csv: cannot be read (No such file or directory)"),
        (["--table", "."], "error: .: cannot be read (Is a directory)"),
        (["--table", "latin.csv"], "error: latin.csv: not UTF-8 at byte 0"),
        (["quickstart", "--json"], "error: --json: has no use here"),
        (["paper", "--set", "seeds=[1]"], "error: --set: has no use here"),
        (["--table", "t.csv", "--data", "a=b"], "error: --data: has no use here"),
        (
            ["paper", "--data", "openai_humaneval=x"],
            "the audit has no use for it; did you mean 'openai/openai_humaneval'",
        ),
        (["paper", "--data", "openai/openai_humaneval"], "no path is given"),
    ],
)
def test_bad_use_is_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin.csv").write_bytes(b"\xe9")
    assert call(monkeypatch, "audit", *arguments) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def test_the_command_prints_findings_or_one_json_object(tmp_path, monkeypatch, capsys):
    table = tmp_path / "t.csv"
    table.write_text(f"{HEAD}\nt,aime,[red]x,accuracy,0.02,30,,,\nt,aime,y,accuracy,0.10,30,,,\n\n", "utf-8")
    assert call(monkeypatch, "audit", "--table", str(table)) == 0
    told = capsys.readouterr().out
    assert "impossible as stated: t (aime), [red]x, accuracy (line 2): no count of 30 gives 0.02" in told
    assert "1 impossible as stated" in told
    assert call(monkeypatch, "audit", "--table", str(table), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1 and found["findings"][0]["verdict"] == "impossible as stated"
    assert found["findings"][0]["lines"] == [2]
    assert [one["count"] for one in found["intervals"]] == [1, 3]


def test_a_table_needs_no_torch(tmp_path):
    import subprocess
    import sys

    table = tmp_path / "t.csv"
    table.write_text(f"{HEAD}\nt,b,x,accuracy,0.5,10,,0.0136,gpt2\n")
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        f"from bakeoff.cli import main; sys.argv = ['bakeoff', 'audit', '--table', {str(table)!r}]; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cannot be decided" in done.stdout


METRICS = ("accuracy", "pass@1", "pass@5", "f1", "precision", "loss", "pass@", "pass@0", "pass@99999999")
DRAWN = some.tuples(
    some.sampled_from(["lora", "x", "prompt"]),
    some.sampled_from(METRICS),
    some.decimals(0, 1, places=3),
    some.sampled_from(["", "1", "7", "50", "1319"]),
    some.sampled_from(["", "1", "5", "9"]),
)


@settings(deadline=None, max_examples=50)
@given(some.lists(DRAWN, min_size=1, max_size=8))
def test_no_table_breaks_the_audit(drawn):
    out = io.StringIO()
    csv.writer(out).writerows([HEAD.split(",")[:7], *(("t", "b", *one) for one in drawn)])
    found = audit(printed.parse(out.getvalue(), "drawn"))
    assert all(finding.text and finding.where for finding in found.findings)
    assert all(0 <= x.p_best <= x.p_worst <= 1 and not math.isnan(x.p_holm) for x in found.contrasts)


def test_a_range_is_read_and_not_checked():
    one = rows("t,b,x,loss,0.95..1.15,100,,,")[0]
    assert (one.value, one.high) == (Decimal("0.95"), Decimal("1.15")) and not one.counted
    with pytest.raises(InputError, match=r"column 'value'"):
        rows("t,b,x,loss,0.95..,100,,,")
