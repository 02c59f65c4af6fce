import msgspec
import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from monitoring import DriftWindow, FeatureDrift, ModelDrift, build_reference, judge
from monitoring.groups import group_starts
from monitoring.ks import ks_p_value

NAMES = [f"f{index}" for index in range(30)]


def reference_of(rows, scores=None):
    rows = np.asarray(rows, dtype=np.float64)
    scores = np.random.default_rng(99).random(len(rows)) if scores is None else scores
    names = NAMES[: rows.shape[1]]
    return build_reference(rows, scores, names=names, kinds=["float"] * len(names), graph_sha256="00")


def verdict_of(reference, rows, scores=None):
    window = DriftWindow(reference, clock=lambda: 0.0)
    scores = np.random.default_rng(98).random(len(rows)) if scores is None else scores
    window.add(np.asarray(rows, dtype=np.float32), scores)
    return window.verdict()


def correlated(rng, n):
    """Thirty features that share one factor: any two correlate at 0.5."""
    return rng.normal(size=(n, 30)) + rng.normal(size=(n, 1))


def uniform_counts(rng, reference, n):
    """Count n rows of uniform values without making them: cell counts are multinomial between the edges."""
    cells = []
    for column in reference.columns:
        shares = np.diff(np.clip([0.0, *column.edges, 1.0], 0.0, 1.0))
        cells += [*rng.multinomial(n, shares), 0]
    return np.array(cells, dtype=np.int64)


@pytest.mark.parametrize("m", [398, 5000])
def test_without_drift_a_model_is_called_drifted_no_more_often_than_stated(m):
    """1,500 windows of 31 columns over 20 references: at most 1 % have any drift, and about that at every size."""
    rng = np.random.default_rng(m)
    references = [reference_of(rng.random((m, 30)), rng.random(m)) for _ in range(20)]
    total = 0
    for n in (50, 100, 1000, 10_000, 100_000):
        false = 0
        for reference in references:
            verdicts = [judge(reference, uniform_counts(rng, reference, n)) for _ in range(15)]
            false += sum(any(column.drift for column in (*found.features, found.score)) for found in verdicts)
        total += false
        assert false <= 3 + 3 * np.sqrt(3), (n, false)
    assert total <= 15


@pytest.mark.parametrize("m", [50, 400, 200_000])
@pytest.mark.parametrize("shape", ["smooth", "integers", "gaps"])
def test_verdict_is_that_of_scipy_and_of_the_textbook(m, shape):
    """PSI by its formula between the groups' edges; scipy's exact KS within the bound, its p-value not undercut."""
    rng = np.random.default_rng(m)

    def draw(mean, n):
        values = rng.normal(mean, 1, n)
        values = np.round(values * 2) if shape == "integers" else values
        return np.where(rng.random(n) < 0.2, np.nan, values) if shape == "gaps" else values

    before, now = (draw(mean, n).astype(np.float32) for mean, n in ((0.0, m), (0.3, 500)))
    reference = reference_of(before.reshape(-1, 1))
    (column,) = verdict_of(reference, now.reshape(-1, 1)).features
    p, q = (values[~np.isnan(values)].astype(np.float64) for values in (before, now))
    edges = reference.features[0].edges
    cuts = [edges[start - 1] for start in group_starts(reference.features[0])[1:]]
    cells = [np.bincount(np.searchsorted(cuts, values), minlength=len(cuts) + 1) for values in (p, q)]
    shares = [np.maximum(counts, 0.5) / counts.sum() for counts in cells]
    exact = stats.ks_2samp(p, q, method="asymp")

    assert column.psi == pytest.approx(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    assert column.jensen_shannon == pytest.approx(distance.jensenshannon(*cells, 2))
    assert column.ks - 1e-9 <= exact.statistic <= column.ks + column.ks_error + 1e-9
    by_ks, by_table = (
        2 * ks_p_value(column.ks, q.size, p.size),
        2 * stats.chi2_contingency(cells, correction=False).pvalue,
    )
    assert by_ks >= 0.9 * exact.pvalue
    assert min(by_ks, by_table, 1.0) * 0.999 <= column.p_value <= by_ks


def test_exactly_the_shifted_features_are_named():
    """A shift of 1.5 sigma in two of 30 correlated features at n = 300 names these two and no other."""
    rng = np.random.default_rng(5)
    reference = reference_of(correlated(rng, 398))
    live = correlated(rng, 300)
    live[:, [4, 17]] += 1.5 * np.sqrt(2)
    found = verdict_of(reference, live)

    assert [column.name for column in found.features if column.drift] == ["f4", "f17"]
    assert [column.severity for column in found.features if column.drift] == ["critical", "critical"]
    assert (found.severity, found.score.drift, found.n) == ("critical", False, 300)


def test_a_trifle_at_a_million_rows_is_significant_and_no_drift():
    """A shift of 0.02 sigma has a small p-value, because n is large, and is not called drift, because it is small."""
    rng = np.random.default_rng(6)
    reference = reference_of(rng.normal(size=(200_000, 1)))
    (column,) = verdict_of(reference, rng.normal(0.02, 1, size=(1_000_000, 1))).features

    assert column.p_value < 1e-6
    assert column.psi < 0.01
    assert (column.drift, column.severity) == (False, "none")


@pytest.mark.parametrize(("shift", "severity"), [(0.1, "none"), (0.37, "warning"), (0.6, "critical")])
def test_severity_grows_with_the_shift(shift, severity):
    """PSI grows about as the square of the shift in sigma: 0.1 and 0.2 lie at 0.32 and 0.45."""
    rng = np.random.default_rng(7)
    found = verdict_of(reference_of(rng.normal(size=(5000, 1))), rng.normal(shift, 1, size=(20_000, 1)))

    assert (found.severity, found.features[0].severity) == (severity, severity)
    assert found.features[0].drift == (severity != "none")


def test_drift_by_ks_alone_is_a_warning():
    """A shift of 0.29 sigma moves KS beyond 0.1 and leaves PSI below: an alert on severity must not miss it."""
    rng = np.random.default_rng(14)
    found = verdict_of(reference_of(rng.normal(size=(20_000, 1))), rng.normal(0.29, 1, size=(20_000, 1)))

    assert (found.features[0].drift, found.severity) == (True, "warning")
    assert found.features[0].psi < 0.1 < found.features[0].ks


def test_the_same_rows_have_a_p_value_of_one():
    """A p-value stays one when two tests share it."""
    rows = np.random.default_rng(15).normal(size=(500, 1))
    (column,) = verdict_of(reference_of(rows), rows).features

    assert (column.psi, column.ks, column.p_value) == (0.0, 0.0, 1.0)


def test_score_drift_alone_is_the_models_severity():
    """The model's severity is the worst of score and features."""
    rng = np.random.default_rng(8)
    found = verdict_of(reference_of(rng.normal(size=(500, 2))), rng.normal(size=(500, 2)), rng.beta(2, 5, 500))

    assert (found.severity, found.score.severity) == ("critical", "critical")
    assert [column.severity for column in found.features] == ["none", "none"]


def test_large_but_insignificant_is_no_drift():
    """At n = 100 against 398 chance alone gives a PSI of over 0.1, which is not called drift."""
    rng = np.random.default_rng(9)
    found = verdict_of(reference_of(rng.normal(size=(398, 30))), rng.normal(size=(100, 30)))

    assert max(column.psi for column in found.features) > 0.2
    assert found.severity == "none"
    assert not any(column.drift for column in found.features)


def test_too_few_rows_answer_with_how_many_are_needed():
    """Below the least number of values there are no statistics; values, not rows, are what counts."""
    rng = np.random.default_rng(10)
    live = rng.normal(size=(120, 2))
    live[:80, 1] = np.nan
    first, second = verdict_of(reference_of(rng.normal(size=(500, 2))), live).features

    assert first.reason is None
    assert second == FeatureDrift(
        name="f1",
        kind="float",
        n=40,
        reason=second.reason,
        missing=80 / 120,
        missing_drift=True,
        outside=0.0,
        outside_chance=2 / 501,
    )
    assert second.reason == "60 more values needed: 40 of 100, and 80 rows without one"


@pytest.mark.parametrize("draw", ["constant", "rare", "levels"])
@pytest.mark.parametrize("changed", [0.0, 1.0, 0.3])
def test_constants_and_nearly_constant_features_that_change_are_seen(draw, changed):
    """A constant that becomes another value, a flag that is hardly ever set, a level that was rare."""
    before, after = {"constant": (2.0, 2.5), "rare": (0.0, 1.0), "levels": (1.0, 2.0)}[draw]
    rows = np.full((500, 1), before)
    rows[:3, 0] = before if draw == "constant" else after
    rows[3:250, 0] = before - 1 if draw == "levels" else before
    live = rows[np.random.default_rng(11).integers(len(rows), size=300)]
    (quiet,) = verdict_of(reference_of(rows), live).features
    live[live == before] = np.where(np.random.default_rng(12).random((live == before).sum()) < changed, after, before)
    (column,) = verdict_of(reference_of(rows), live).features

    assert (quiet.drift, quiet.reason) == (False, None)
    assert column.drift == (changed > 0)
    assert column.severity == ("critical" if changed else "none")


def test_reference_with_too_few_values_says_so():
    """A feature that was nearly always missing cannot be compared."""
    rows = np.full((500, 1), np.nan)
    rows[:15] = 1.0
    (column,) = verdict_of(reference_of(rows), np.ones((300, 1))).features

    assert column.reason == "the reference has 15 values, 20 are needed"


@pytest.mark.parametrize("draw", ["ties", "integers", "flag", "missing", "fifty"])
def test_awkward_columns_stay_quiet_without_drift_and_speak_with_it(draw):
    """Heavy ties, whole numbers, a flag, missing values and a reference of 50 rows are judged like any other."""
    rng = np.random.default_rng(12)

    def sample(n, shift):
        values = rng.normal(shift, 1, size=(n, 1))
        return {
            "ties": np.where(values < 0.5, 0.0, values),
            "integers": np.round(values * 3),
            "flag": (values > 1).astype(float),
            "missing": np.where(rng.random((n, 1)) < 0.3, np.nan, values),
            "fifty": values,
        }[draw]

    reference = reference_of(sample(50 if draw == "fifty" else 600, 0.0))
    quiet = [verdict_of(reference, sample(400, 0.0)).features[0].drift for _ in range(50)]
    (loud,) = verdict_of(reference, sample(400, 1.5)).features

    assert sum(quiet) <= 1
    assert (loud.drift, loud.severity) == (True, "critical")


def test_verdict_of_added_counts_is_the_verdict_of_the_union():
    """Counts of two workers, added up, give what one worker with all rows would give."""
    rng = np.random.default_rng(13)
    reference = reference_of(rng.normal(size=(500, 3)))
    rows, scores = rng.normal(0.3, 1, size=(400, 3)).astype(np.float32), rng.random(400)
    workers = [DriftWindow(reference, clock=lambda: 0.0) for _ in range(3)]
    workers[0].add(rows, scores)
    workers[1].add(rows[:150], scores[:150])
    workers[2].add(rows[150:], scores[150:])

    assert judge(reference, workers[1].counts() + workers[2].counts()) == workers[0].verdict()


def test_counts_of_another_reference_are_refused():
    """A vector of another length cannot be judged."""
    reference = reference_of(np.arange(500.0).reshape(-1, 1))
    with pytest.raises(ValueError, match=r"counts of shape \(7,\) belong to another reference"):
        judge(reference, np.zeros(7, dtype=np.int64))


def test_verdict_is_plain_json_even_at_the_extremes():
    """A window of nothing but infinities, and an empty one, encode without NaN or infinity."""
    reference = reference_of(np.arange(500.0).reshape(-1, 1))
    for rows in (np.full((300, 1), np.inf), np.empty((0, 1))):
        found = verdict_of(reference, rows, np.full(len(rows), np.nan))
        encoded = msgspec.json.encode(found)

        assert msgspec.json.decode(encoded, type=ModelDrift) == found
    assert verdict_of(reference, np.full((300, 1), np.inf)).features[0].severity == "critical"
