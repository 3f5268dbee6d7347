"""The page while a run goes on: it follows the events, and leads to the report at the end."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import axe_playwright_python as axe
import pytest

from kdscope.report.serve import HOST, server
from kdscope.study.display import Silent
from kdscope.study.events import EventLog
from kdscope.study.graph import Graph, Plan
from kdscope.study.live import watcher
from kdscope.study.progress import Progress
from kdscope.study.store import METRICS, Run

HOSTILE = "<img src=x onerror=window.pwned=1>"


class Going:
    """A run in work: its lock is held, and events are appended as a driver does."""

    def __init__(self, folder: Path):
        graph = Graph()
        first = graph.add("sft", "one", {"name": "one"}, {})
        graph.add("predict", "two", {"name": "two"}, {"model": [first]})
        self.run = Run(folder)
        self.steps = list(graph.steps.values())
        self.plan = Plan("going", graph.steps, (), predicted=dict.fromkeys(graph.steps, 90.0))
        self.run.claim("going")
        self.run.save_study("", {"name": "going"}, self.plan)
        self.log = EventLog(self.run.events)
        self.log.add("begin", todo=2, reused=0, name="going")
        self.clock = 0.0
        self.progress = Progress(self.run.folder, Silent(), lambda: self.clock)

    def start(self, i: int) -> None:
        step = self.steps[i]
        self.log.add("start", step=step.path, key=step.key, attempt=1, micro_batch=None)
        self.progress.started(step, 1)

    def tell(self, i: int, **numbers: float) -> None:
        """A report of a running step, a second after the last one."""
        self.clock += 1.0
        self.progress.progress(self.steps[i], numbers)
        self.progress.tick(42.0)

    def metrics(self, i: int, *lines: str) -> None:
        place = self.run.work(self.steps[i]) / METRICS
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("\n".join(lines))

    def fail(self, i: int) -> None:
        step = self.steps[i]
        self.log.add("failed", step=step.path, key=step.key, again=False, message=HOSTILE)


@pytest.fixture
def going(tmp_path: Path) -> Iterator[Going]:
    made = Going(tmp_path / "run")
    with made.run.locked():
        yield made
    made.log.close()


@pytest.fixture
def address(going: Going) -> Iterator[str]:
    with server(going.run.folder / "report", live=watcher(going.run.folder)) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"{HOST}:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def ask(address: str, path: str, host: str = "") -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", path, headers={"Host": host or address})
    response = connection.getresponse()
    found = response.status, response.read(), dict(response.getheaders())
    connection.close()
    return found


def test_the_state_follows_the_events(going: Going, address: str) -> None:
    status, body, headers = ask(address, "/live.json")
    state = json.loads(body)
    assert status == 200
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers
    assert (state["active"], state["steps"], state["done"]) == (True, 2, 0)
    assert (state["running"], state["failed"], state["page"]) == ([], {}, False)
    assert state["predicted_seconds_left"] == 180
    assert str(going.run.folder) not in body.decode()
    going.start(0)
    (running,) = json.loads(ask(address, "/live.json")[1])["running"]
    assert running["step"] == going.steps[0].path
    assert 0 <= running["seconds"] < 60
    assert running["predicted_seconds"] == 90
    going.fail(0)
    state = json.loads(ask(address, "/live.json")[1])
    assert state["running"] == []
    assert list(state["failed"]) == [going.steps[0].path]


def test_numbers_of_what_runs_need_no_event(going: Going, address: str) -> None:
    going.start(0)
    going.start(1)
    first, second = json.loads(ask(address, "/live.json")[1])["running"]
    assert "total" not in first
    assert first["curve"] == []
    for done in (40, 50, 60):
        going.tell(1, done=done, total=100)
    going.metrics(0, '{"step": 1, "loss": 4.5}', '{"step": 2, "loss": 3.5}', '{"step": 3, "lo')
    state = json.loads(ask(address, "/live.json")[1])
    first, second = state["running"]
    assert state["seconds_left"] == 42
    assert first["curve"] == [[1, 4.5], [2, 3.5]]
    assert (second["done"], second["total"], second["unit"]) == (60, 100, "answers")
    assert (second["rate"], second["seconds_left"]) == (10, 4)


@pytest.mark.usefixtures("going")
def test_only_this_host_and_this_folder(address: str) -> None:
    assert ask(address, "/live.json", "evil.example")[0] == 403
    assert ask(address, "/", "evil.example:80")[0] == 403
    for path in ("/../events.jsonl", "/%2e%2e/plan.json", "/events.jsonl", "/live.json/../../x"):
        assert ask(address, path)[0] == 404


def test_the_report_takes_its_place_when_the_run_is_over(tmp_path: Path) -> None:
    made = Going(tmp_path / "run")
    page = made.run.folder / "report" / "index.html"
    page.parent.mkdir()
    page.write_text("the report")
    with server(page.parent, live=watcher(made.run.folder)) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        place = f"{HOST}:{running.server_address[1]}"
        assert ask(place, "/")[1] == b"the report"
        with made.run.locked():
            made.start(0)
            assert b"live.json" in ask(place, "/")[1]
            assert ask(place, "/index.html")[1] == b"the report"
        running.shutdown()
        thread.join()
    made.log.close()


@pytest.mark.browser
def test_a_browser_follows_the_run(browser, going: Going, address: str) -> None:
    from playwright.sync_api import expect

    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    trouble: list[str] = []
    page.on("request", lambda r: None if address in r.url else trouble.append(r.url))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
    page.goto(f"http://{address}/")
    expect(page.locator("#headline")).to_have_text("0 of 2 steps are done.")
    expect(page.locator("#rest")).to_contain_text("About 3 min 0 s of work left")
    going.start(0)
    expect(page.locator("#running li")).to_contain_text(going.steps[0].path)
    expect(page.locator("#running li")).to_contain_text("of about 1 min 30 s")
    going.start(1)
    going.tell(0, done=8, total=10, loss=0.5)
    for done in (1_000, 1_500):
        going.tell(1, done=done, total=2_000)
    going.metrics(0, '{"step": 1, "loss": 4.5}', f'{{"step": 8, "loss": 0.5, "x": "{HOSTILE}"}}')
    expect(page.locator("#running li")).to_have_count(2)
    first, second = page.locator("#running li").all()
    expect(second).to_contain_text("1,500 of 2,000 answers · 500 a second · about 1 s left")
    expect(first).to_contain_text("8 of 10 optimizer steps")
    expect(first.locator("figcaption")).to_contain_text("4.5 at step 1, 0.5 at step 8")
    assert first.locator("polyline").get_attribute("points") == "0.0,2.0 300.0,42.0"
    expect(page.locator("#rest")).to_have_text("About 42 s left.")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        serious = {"moderate", "serious", "critical"}
        assert not [rule["id"] for rule in found if rule["impact"] in serious]
    going.fail(0)
    expect(page.locator("#failed li")).to_contain_text(HOSTILE)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("window.pwned") is None
    assert not [text for text in trouble if "favicon" not in text]
    context.close()
