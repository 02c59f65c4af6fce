import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import monitoring
from monitoring import DriftWindow, build_reference

RNG = np.random.default_rng(0)
REFERENCE = build_reference(
    RNG.normal(size=(400, 3)), RNG.random(300), names=["a", "b", "c"], kinds=["float"] * 3, graph_sha256="00"
)


class FakeClock:
    """Stands still until a test moves it."""

    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        """Tell the time."""
        return self.now


def add(window, n, seed=0):
    rng = np.random.default_rng(seed)
    window.add(rng.normal(size=(n, 3)).astype(np.float32), rng.random(n))


def rows_in(window):
    return window.verdict().n


def test_window_keeps_the_fewest_epochs_that_hold_enough_rows():
    """Older epochs leave as soon as newer ones hold window_rows; the oldest one needed stays whole."""
    clock = FakeClock()
    window = DriftWindow(REFERENCE, window_rows=100, clock=clock)
    held = []
    for epoch in range(5):
        clock.now = 10.0 * epoch + 3
        add(window, 40, epoch)
        held.append(rows_in(window))

    assert held == [40, 80, 120, 120, 120]


def test_one_large_epoch_is_the_whole_window():
    """A window is never cut inside an epoch."""
    clock = FakeClock()
    window = DriftWindow(REFERENCE, window_rows=100, clock=clock)
    add(window, 50)
    clock.now = 10.0
    add(window, 5000)

    assert rows_in(window) == 5000


def test_rows_leave_with_the_horizon_even_if_nothing_comes():
    """With a horizon of six epochs the current one and the five before it count."""
    clock = FakeClock()
    window = DriftWindow(REFERENCE, horizon_s=60.0, clock=clock)
    add(window, 40)
    clock.now = 59.9
    assert rows_in(window) == 40
    clock.now = 60.0

    assert rows_in(window) == 0


def test_epochs_begin_on_the_wall_clock_not_with_the_first_row():
    """Rows at 9.9 s and 10.0 s lie in two epochs, in every worker."""
    clock = FakeClock(9.9)
    window = DriftWindow(REFERENCE, clock=clock)
    add(window, 1)
    clock.now = 10.0
    add(window, 1)

    assert repr(window) == "DriftWindow(rows=2, epochs=2)"


def test_memory_is_bounded_by_the_horizon():
    """However long it runs, a window holds no more epochs than the horizon."""
    clock = FakeClock()
    window = DriftWindow(REFERENCE, horizon_s=60.0, clock=clock)
    for epoch in range(100):
        clock.now = 10.0 * epoch
        add(window, 1)

    assert len(window._epochs) == 6


def test_clock_set_back_costs_at_most_the_window():
    """Epochs that now lie in the future do not count, and the window fills again at once."""
    clock = FakeClock(100_000.0)
    window = DriftWindow(REFERENCE, window_rows=100, clock=clock)
    add(window, 500)
    clock.now = 5.0
    assert rows_in(window) == 0
    add(window, 200)

    assert rows_in(window) == 200
    assert len(window._epochs) == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=12))
def test_counts_of_the_window_are_the_counts_of_its_rows(blocks):
    """However rows are split into blocks and epochs, their counts are those of one block."""
    clock = FakeClock()
    window, whole = DriftWindow(REFERENCE, clock=clock), DriftWindow(REFERENCE, clock=FakeClock())
    rng = np.random.default_rng(1)
    rows, scores = [np.empty((0, 3), np.float32)], [np.empty(0)]
    for epochs, n in blocks:
        clock.now += 10.0 * epochs
        rows.append(rng.normal(size=(n, 3)).astype(np.float32))
        scores.append(np.where(rng.random(n) < 0.2, np.nan, rng.random(n)))
        window.add(rows[-1], scores[-1])
    whole.add(np.concatenate(rows), np.concatenate(scores))

    assert (window.counts() == whole.counts()).all()


def test_missing_scores_are_counted_apart():
    """A score that is NaN is a row without a score."""
    window = DriftWindow(REFERENCE, clock=FakeClock())
    window.add(np.zeros((150, 3), np.float32), np.append(np.full(30, np.nan), np.full(120, 0.5)))

    assert (window.verdict().score.n, window.verdict().n) == (120, 150)


def test_counts_given_out_never_change():
    """What a reader got stays as it was while rows come in."""
    window = DriftWindow(REFERENCE, clock=FakeClock())
    add(window, 10)
    counts = window.counts()
    add(window, 10)

    assert counts.sum() == 40
    assert counts.dtype == np.int64


@pytest.mark.parametrize(("rows", "scores"), [((5, 2), 5), ((5, 3), 4), ((3,), 3)])
def test_block_that_does_not_fit_is_refused_and_leaves_no_trace(rows, scores):
    """Shapes are checked before anything is counted."""
    window = DriftWindow(REFERENCE, clock=FakeClock())
    with pytest.raises(ValueError, match=r"need rows \[n, 3\] and scores \[n\]"):
        window.add(np.zeros(rows, np.float32), np.zeros(scores))

    assert window.counts().sum() == 0


@pytest.mark.parametrize("setting", [{"window_rows": 0}, {"epoch_s": 0.0}, {"horizon_s": 5.0}])
def test_impossible_windows_are_refused(setting):
    """A window must be able to hold something."""
    with pytest.raises(ValueError, match="need window_rows"):
        DriftWindow(REFERENCE, **setting)


LEAN = """
import sys
import numpy as np
import monitoring
reference = monitoring.build_reference(
    np.arange(400.0).reshape(-1, 1), np.arange(400.0), names=["x"], kinds=["float"], graph_sha256="00"
)
window = monitoring.DriftWindow(reference)
window.add(np.arange(200.0, dtype=np.float32).reshape(-1, 1), np.arange(200.0))
assert window.verdict().score.psi is not None
print(*sorted(set(sys.modules) & {"scipy", "sklearn", "mlflow", "onnxruntime", "pandas"}))
"""


def test_monitoring_stays_light():
    """A judged window loads none of scipy, scikit-learn, MLflow, onnxruntime."""
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True, check=False)

    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_every_exported_name_is_there():
    """The lazy names resolve, and a misspelt one is an AttributeError."""
    assert all(hasattr(monitoring, name) for name in monitoring.__all__)
    assert sorted(monitoring.__all__) == monitoring.__all__
    assert not hasattr(monitoring, "DriftWindows")
