"""The page in a real Chromium, on a real server: what it shows is what the API says."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time

import numpy as np
import pytest
from harness import free_port, serving, wait_until
from sklearn.linear_model import LogisticRegression

from converters import Column, Provenance, build_model_file
from gateway.store import Entry, ModelRoles, ModelStore, replace_file

pytestmark = pytest.mark.process

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PROMPT_S = 4.0
"""2 s are promised, on a machine that is not busy with other tests."""
WIDE = 1000


@pytest.fixture(scope="module")
def browser():
    """One Chromium for all tests here; the system's, because nothing is downloaded."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def wide():
    """A model of 1,000 features, as a file."""
    rng = np.random.default_rng(0)
    rows, target = rng.normal(size=(600, WIDE)), np.arange(600) % 2
    return build_model_file(
        LogisticRegression(max_iter=50).fit(rows[:400], target[:400]),
        columns=[Column(name=f"feature_{place:04}") for place in range(WIDE)],
        labels=["no", "yes"],
        train_rows=rows[:400],
        heldout_rows=rows[400:],
        provenance=Provenance(git_revision=None, data_digest="test", parameters={}, versions={}, seed=0),
    )


class Live:
    """A server on a port, which can be killed and started again, and the store that it serves."""

    def __init__(self, folder, models):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.roles = {}
        self.server = None
        self._stack = contextlib.ExitStack()
        self._store = ModelStore(folder / "home" / "store")
        with self._store.writer() as writer:
            for file in models:
                writer.put(file.data)

    def publish(self, **served):
        """Let these versions serve, besides those that do."""
        self.roles.update(
            {
                name: ModelRoles(champion=Entry(version=version, sha256=file.sha256))
                for name, (version, file) in served.items()
            }
        )
        with self._store.writer() as writer:
            writer.publish(self.roles)

    def start(self):
        self.server = self._stack.enter_context(
            serving(
                self.folder,
                "--no-sync",
                "--workers",
                "2",
                port=self.port,
                env={"HOTGATE_GATEWAY_DEFAULT_MODEL": "cancer"},
            )
        )

    def stop(self):
        self._stack.close()

    def get(self, path):
        return json.loads(self.server.request("GET", path)[2])

    def send(self, rows, model="cancer"):
        body = json.dumps({"instances": np.asarray(rows).tolist()}).encode()
        status, _, answer = self.server.predict(body, f"/predict/{model}")
        assert status == 200, answer

    def verdict(self, model="cancer"):
        return self.get(f"/monitor/drift?model={model}")[0]


@pytest.fixture(scope="module")
def live(tmp_path_factory, linear, forest, wide):
    """Two models, one of them with 1,000 features."""
    live = Live(tmp_path_factory.mktemp("page"), [linear.file, forest.file, wide])
    live.publish(cancer=("1", linear.file), wide=("1", wide))
    live.start()
    yield live
    live.stop()


class Page:
    """The page in a tab, and all that the browser has complained of."""

    def __init__(self, browser, url):
        self.tab = browser.new_page(viewport={"width": 1280, "height": 900})
        self.tab.set_default_timeout(15_000)
        self.complaints = []
        self.addresses = set()
        self.tab.on("console", lambda said: self._complain(said.text) if said.type in {"error", "warning"} else None)
        self.tab.on("pageerror", lambda error: self._complain(str(error)))
        self.tab.on("request", lambda request: self.addresses.add(request.url.split("/")[2]))
        self.tab.goto(url, wait_until="load")

    def _complain(self, text):
        self.complaints.append(text)

    def text(self, selector):
        return self.tab.inner_text(selector)

    def until(self, expression, value=None):
        """Wait until an expression of JavaScript is true."""
        self.tab.wait_for_function(expression, arg=value)

    def escape(self):
        """Close the histogram; nothing else can be used until it is closed."""
        self.tab.keyboard.press("Escape")
        self.until("() => !document.getElementById('detail').open")

    def filter(self, text):
        """Type into the filter; once more if the focus was on its way back from a histogram to the map."""

        def filled():
            self.tab.fill("#filter", text)
            return self.tab.input_value("#filter") == text

        wait_until(filled, what=f"the filter {text!r}")

    def rows(self):
        """What the map shows, by feature: PSI now, as text."""
        found = self.tab.eval_on_selector_all(
            "#rows .row",
            "rows => rows.map(row => [row.querySelector('.name').innerText, row.querySelector('.now').innerText])",
        )
        return dict(found)


@pytest.fixture(scope="module")
def opened(browser, live):
    """The page, opened once."""
    page = Page(browser, live.url)
    page.until("() => document.getElementById('status-text').innerText.includes('ready')")
    return page


@pytest.fixture
def page(opened, live):
    """The page; a test that leaves it with complaints, or with a request to anywhere else, fails."""
    yield opened
    assert opened.complaints == []
    assert opened.addresses == {f"127.0.0.1:{live.port}"}


def shown_now(page, columns):
    """Whether the map shows these columns' PSI, those that it shows at all."""
    rows = page.rows()
    return len(rows) >= 18 and all(
        column["psi"] is not None and rows[column["name"]].split()[-1] == f"{column['psi']:.3f}"
        for column in columns
        if column["name"] in rows
    )


def test_an_empty_page_says_what_to_do_and_that_works(page, live):
    """The line that it shows is a request that is answered."""
    line = page.text("#empty code")
    address, body = re.fullmatch(r"curl -s (\S+) -H 'Content-Type: application/json' -d '(.*)'", line).groups()
    assert address == f"{live.url}predict/cancer"
    assert live.server.predict(body.encode(), "/predict/cancer")[0] == 200
    page.until("() => document.getElementById('empty').hidden")
    assert page.text("#severity") == "\u2013"  # one row is no reason to be calm
    assert "closed windows" in page.text("#alerts")
    assert "/feedback" in page.text("#performance")


def test_what_the_page_shows_is_what_the_api_says(page, live, cancer):
    """Rows, versions, verdicts and histograms."""
    live.send(cancer[0])
    report = wait_until(lambda: (found := live.verdict())["n"] >= 569 and found, what="the verdict")
    columns = [*report["features"], report["score"], report["label"]]
    wait_until(lambda: shown_now(page, columns), what="the verdict on the page")
    total = re.search(
        rb'hotgate_rows_total\{model="cancer",role="champion",version="1"\} (\d+)',
        live.server.request("GET", "/metrics")[2],
    )
    page.until(
        "text => document.getElementById('figures').innerText.includes(text)", f"{int(total[1]):,} since the start"
    )
    loaded = next(model for model in live.get("/health")["models"] if model["name"] == "cancer")["loaded"]
    assert page.tab.locator("#versions code").get_attribute("title") == loaded["sha256"]
    page.filter("worst_area")
    page.tab.click("#rows .row .name")
    page.until("() => document.querySelectorAll('#detail-table tbody tr').length > 0")
    histogram = live.get("/monitor/histogram?model=cancer&feature=worst_area")
    shown = page.tab.eval_on_selector_all(
        "#detail-table tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    )
    assert shown == [
        [group["label"], f"{100 * group['reference']:.1f} %", f"{100 * group['current']:.1f} %"]
        for group in histogram["groups"]
    ]
    assert f"PSI {histogram['column']['psi']:.3f} · KS {histogram['column']['ks']:.3f}" in page.text("#detail-verdict")
    page.escape()
    page.filter("")


def test_the_keyboard_is_enough(page):
    """Tab comes to the map, arrows move in it, Enter opens the histogram, Escape closes it and leads back."""
    page.until("() => document.querySelectorAll('#rows .row').length > 1")  # the filter of before is gone
    for _ in range(40):
        page.tab.keyboard.press("Tab")
        if page.tab.evaluate("document.activeElement.id") == "map":
            break
    for key in ("Home", "ArrowDown", "ArrowDown", "ArrowUp"):
        page.tab.keyboard.press(key)
    active = "document.getElementById(document.getElementById('map').getAttribute('aria-activedescendant'))"
    name = page.tab.evaluate(f"{active}.querySelector('.name').innerText")
    assert name == list(page.rows())[1]
    page.tab.keyboard.press("Enter")
    page.until("() => document.getElementById('detail').open")
    assert page.text("#detail-name") == name
    page.escape()
    page.until("() => document.activeElement.id === 'map'")
    page.tab.keyboard.press("ArrowLeft")
    assert page.tab.evaluate(f"{active}.getAttribute('role')") == "gridcell"
    assert "PSI" in page.tab.evaluate(f"{active}.getAttribute('aria-label')")
    page.tab.keyboard.press("Enter")
    page.until("() => document.getElementById('detail-verdict').innerText.includes(' to ')")
    page.escape()
    page.tab.keyboard.press("ArrowRight")


def test_a_swap_appears_at_once(page, live, forest):
    """From the moment on when the API names the version that serves."""
    live.publish(cancer=("2", forest.file))
    wait_until(lambda: _serving(live) == "2", what="version 2")
    began = time.monotonic()
    page.until("() => document.querySelector('#versions tbody td').innerText === '2'")
    took_s = time.monotonic() - began
    assert page.tab.eval_on_selector_all(
        "#swaps tbody tr:first-child td", "cells => cells.slice(1, 3).map(cell => cell.innerText)"
    ) == ["1", "2"]
    print(f"swap shown after {took_s:.2f} s")
    assert took_s < PROMPT_S


def _serving(live):
    model = next(model for model in live.get("/health")["models"] if model["name"] == "cancer")
    return model["loaded"]["version"]


def test_drift_appears_at_once(page, live, cancer):
    """From the moment on when the API's verdict says so."""
    rows = cancer[0].copy()
    rows[:, 3] += 2 * rows[:, 3].std()
    live.send(rows)
    wait_until(lambda: live.verdict()["severity"] == "critical", what="the verdict")
    began = time.monotonic()
    page.until("() => document.getElementById('severity').innerText.includes('critical')")
    took_s = time.monotonic() - began
    print(f"drift shown after {took_s:.2f} s")
    assert took_s < PROMPT_S
    assert "mean_area" in page.text("#summary")
    report = live.verdict()
    worst = max([*report["features"], report["score"]], key=lambda column: column["psi"])["name"]
    wait_until(lambda: next(iter(page.rows())) == worst, what="the worst on top")


def test_a_thousand_features_stay_usable(page, live, wide):
    """Only what can be seen is in the document; the filter finds one among all, at once."""
    rows = np.random.default_rng(1).normal(size=(200, WIDE))
    rows[:, 777] += 3
    live.send(rows, "wide")
    page.tab.select_option("#model", "wide")
    wait_until(lambda: next(iter(page.rows()), None) == "feature_0777", what="the drifted feature on top")
    assert page.tab.locator("#rows .row").count() < 60
    timed = """() => { const began = performance.now();
        for (const text of ['feature_0123', '']) {
          const input = document.getElementById('filter');
          input.value = text;
          input.dispatchEvent(new Event('input'));
          if (text && document.querySelectorAll('#rows .row').length !== 1) return null;
        }
        return performance.now() - began; }"""
    took_ms = page.tab.evaluate(timed)
    print(f"filtered twice in {took_ms:.0f} ms")
    assert took_ms < 1000
    page.tab.focus("#map")
    page.tab.keyboard.press("End")
    wait_until(
        lambda: (
            page.tab.evaluate("document.querySelector('#rows .active')?.getAttribute('aria-rowindex')") == str(WIDE + 2)
        ),
        what="the last one",
    )
    page.filter("0777")
    wait_until(lambda: shown_wide(page, live), what="the API's value")
    page.filter("")
    page.tab.select_option("#model", "cancer")


def shown_wide(page, live):
    value = live.verdict("wide")["features"][777]["psi"]
    return {name: text.split()[-1] for name, text in page.rows().items()} == {"feature_0777": f"{value:.3f}"}


def test_alerts_and_ground_truth_come_when_their_files_change(page, live):
    """One line a breach, those that last first; measures with their intervals, or why there are none."""
    figure = {"value": 0.962, "low": 0.951, "high": 0.971, "reason": None}
    none = {"value": None, "low": None, "high": None, "reason": "12 labels, 100 are needed"}
    measured = {
        "n": 1842,
        "accuracy": figure,
        "roc_auc": figure,
        "log_loss": none,
        "brier": none,
        "calibration_error": none,
    }
    horizons = [
        {"horizon_s": 86_400, "realised": measured, "estimated": {"n": 9000, "accuracy": {**figure, "value": 0.95}}},
        {"horizon_s": 3600, "realised": {**measured, "n": 7}, "estimated": None},
    ]
    report = {"model": "cancer", "version": "1", "horizons": horizons, "concept_drift": True}
    monitor = live.folder / "home" / "monitor"
    performance = json.dumps({"models": [report, {**report, "model": "wide", "version": "9"}]}).encode()
    alert = {
        "id": "a",
        "state": "firing",
        "model": "cancer",
        "version": "1",
        "kind": "data_drift",
        "severity": "critical",
    }
    evidence = {"name": "<b>area", "statistic": "psi", "value": 0.42, "threshold": 0.2}
    alert |= {"started_at": 1e9, "ended_at": None, "evidence": [evidence]}
    over = {**alert, "id": "b", "started_at": 2e9}
    ops = {**alert, "id": "c", "model": "", "version": "", "kind": "ops", "about": "disk", "text": "make room"}
    lines = [
        over,
        {**over, "state": "resolved", "ended_at": 2e9 + 60},
        alert,
        {**alert, "id": "d", "model": "wide"},
        ops,
        {**alert, "id": "e", "model": "wide", "silenced": True},
    ]
    (monitor / "alerts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page.until("() => document.querySelectorAll('#alerts .alert').length === 3")
    shown = [line.split("\n") for line in page.tab.locator("#alerts .alert").all_inner_texts()]
    assert [line[0] for line in shown] == ["critical", "critical", "resolved"]
    assert "data drift, version 1" in shown[0]
    assert "<b>area psi 0.420 (limit 0.200)" in shown[0]
    assert {"ops, disk", "<b>area psi 0.420 (limit 0.200). make room"} <= set(shown[1])
    page.until("() => document.getElementById('status-text').innerText.includes('3 alerts fire')")

    def measures_are_shown():
        # The observer writes this file too, once a minute: what it has written over is written again.
        replace_file(monitor / "performance.json", performance, durable=False)
        return page.tab.evaluate("() => document.querySelector('#performance tbody') !== null")

    wait_until(measures_are_shown)
    cells = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    rows = page.tab.eval_on_selector_all("#performance tbody tr", cells)
    assert rows[0] == ["accuracy", "96.2 %", "95.1 % to 97.1 %", "95.0 %"]
    assert rows[1][:3] == ["ROC AUC", "0.962", "0.951 to 0.971"]
    assert rows[2][2] == "12 labels, 100 are needed"
    assert "version 1, 1,842 labels of 24 h" in page.text("#performance")
    assert "error rate has risen" in page.text("#performance")


def test_measures_of_numbers_are_their_errors(page, live):
    """In the unit of what is predicted; nothing that only classes have."""
    figure = {"value": 12.25, "low": 11.5, "high": 13.0, "reason": None}
    measured = {
        "n": 500,
        "mean_absolute_error": figure,
        "root_mean_squared_error": figure,
        "bias": {**figure, "value": -3},
    }
    report = {"model": "cancer", "version": "1", "judged": "number", "concept_drift": None}
    report["horizons"] = [{"horizon_s": 86_400, "realised": measured, "estimated": {"n": 9000, "accuracy": {}}}]
    path, written = live.folder / "home" / "monitor" / "performance.json", json.dumps({"models": [report]}).encode()

    def shown():
        replace_file(path, written, durable=False)
        return "mean absolute error" in page.text("#performance")

    wait_until(shown)
    cells = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    assert [row[:3] for row in page.tab.eval_on_selector_all("#performance tbody tr", cells)] == [
        ["mean absolute error", "12.250", "11.500 to 13.000"],
        ["root mean squared error", "12.250", "11.500 to 13.000"],
        ["bias", "-3.000", "11.500 to 13.000"],
    ]


def test_both_themes_and_a_phone(page):
    """The system's theme, or the one that is chosen; nothing wider than the screen."""
    ground = "getComputedStyle(document.body).backgroundColor"
    page.tab.emulate_media(color_scheme="dark")
    dark = page.tab.evaluate(ground)
    page.tab.emulate_media(color_scheme="light")
    light = page.tab.evaluate(ground)
    assert dark != light
    page.tab.click("#theme")
    page.tab.click("#theme")
    assert page.tab.get_attribute("#theme", "aria-label") == "Theme: dark"
    assert page.tab.evaluate(ground) == dark
    page.tab.click("#theme")
    assert page.tab.evaluate(ground) == light
    page.tab.set_viewport_size({"width": 390, "height": 844})
    page.until("() => document.documentElement.scrollWidth === 390")  # the charts follow a frame later
    page.until("() => document.querySelector('#throughput canvas').getBoundingClientRect().right <= 390")
    page.tab.locator("#rows .row").first.wait_for()  # visible; a resize draws the rows anew
    page.tab.set_viewport_size({"width": 1280, "height": 900})


def test_a_stream_that_breaks_is_opened_again(page, live):
    """The server is killed, and another one comes on its port: the page says so, and goes on."""
    page.tab.evaluate("window.kept = true")
    workers = live.server.workers()
    live.server.process.kill()
    live.stop()
    page.until("() => document.getElementById('status-text').innerText.includes('connection lost')")
    wait_until(lambda: not set(workers) & set(live.server.workers()), what="the workers' end")
    live.start()
    page.until("() => document.getElementById('status-text').innerText.includes('ready') && window.kept")
    page.until("() => !document.documentElement.classList.contains('stale')")
    page.complaints[:] = [text for text in page.complaints if "net::ERR" not in text]


def test_the_policy_lets_nothing_else_in(page):
    """A script or a style within the page does nothing, and the browser says so: what the other tests rest on."""
    page.tab.evaluate(
        """() => { const script = document.createElement('script');
        script.textContent = 'window.broken = true';
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', '<p id="probe" style="color: red">'); }"""
    )
    assert page.tab.evaluate("window.broken") is None
    assert page.tab.evaluate("document.getElementById('probe').style.color") == ""
    assert all("Content Security Policy" in text for text in page.complaints)
    assert {kind for text in page.complaints for kind in ("script-src", "style-src") if kind in text} == {
        "script-src",
        "style-src",
    }
    page.complaints.clear()
