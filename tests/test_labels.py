"""Label counts against known values."""

import pytest

from bakeoff.grading.labels import confusion, grade_choice


def test_known_values():
    # scikit-learn's own example: f1_score([0,1,2,0,1,2], [0,2,1,0,0,1], average="macro") == 0.26666...
    counted = confusion(list("012012"), list("021001"), list("012"))
    assert counted.macro_f1 == pytest.approx(4 / 15)
    assert counted.accuracy == pytest.approx(1 / 3)
    assert counted.counts["0", "0"] == 2 and counted.counts["1", "0"] == 1
    assert counted.total == 6 and counted.constant is None


def test_constant_predictor():
    counted = confusion(["a", "b", "b"], ["b", "b", "b"], ["a", "b"])
    assert counted.constant == "b" and counted.accuracy == pytest.approx(2 / 3)
    assert counted.macro_f1 == pytest.approx((0 + 0.8) / 2)
    assert confusion(["b", "b"], ["b", "b"], ["a", "b"]).constant is None  # nothing else was to be said


def test_a_text_that_is_no_label_is_wrong():
    counted = confusion(["a", "b"], ["a", "hm"], ["a", "b"])
    assert counted.accuracy == 0.5 and counted.counts["b", None] == 1
    with pytest.raises(ValueError, match="'z'"):
        confusion(["z"], ["a"], ["a", "b"])
    with pytest.raises(ValueError, match="no predictions"):
        confusion([], [], ["a"])


def test_choice():
    right = grade_choice(("no", "yes"), "yes", "yes", (-2.0, -0.5))
    assert right == {"scores": {"accuracy": 1.0}, "detail": {"gold": "yes", "chosen": "yes", "margin": 1.5}}
    wrong = grade_choice(("no", "yes"), "yes", "maybe")
    assert wrong["scores"] == {"accuracy": 0.0} and wrong["detail"]["unparsable"]
