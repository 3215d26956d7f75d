"""The report in a real browser: hostile texts stay texts, and the table of examples searches, sorts and pages."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from unsay.report.report import write_report
from unsay.report.text import visible

pytestmark = pytest.mark.browser

_HELPER = Path(__file__).parents[1] / "unit" / "report" / "conftest.py"
_spec = importlib.util.spec_from_file_location("report_folders", _HELPER)
assert _spec and _spec.loader
folders = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(folders)

URL = "http://evil.invalid"
PAYLOADS = [
    "<script>window.__x=1</script>",
    "</script><script>window.__x=1</script>",
    "</ScRiPt ><ScRiPt>window.__x=1</sCrIpT>",
    "<!--<script>window.__x=1//--></script>",
    "--><script>window.__x=1</script><!--",
    "]]><script>window.__x=1</script>",
    f"<script src={URL}/a.js></script>",
    "<img src=x onerror=window.__x=1>",
    f"<img src='{URL}/p.png'>",
    '<img """><script>window.__x=1</script>">',
    "<svg onload=window.__x=1>",
    "<svg><script>window.__x=1</script></svg>",
    "<svg><animate onbegin=window.__x=1 attributeName=x dur=1s>",
    f"<svg><use href='{URL}/a.svg#x'></svg>",
    '<svg><foreignObject><body onload="window.__x=1"></foreignObject></svg>',
    "<math><mtext><table><mglyph><style><img src=x onerror=window.__x=1>",
    "<body onload=window.__x=1>",
    "<details open ontoggle=window.__x=1>",
    "<video><source onerror=window.__x=1>",
    "<audio src=x onerror=window.__x=1>",
    "<input autofocus onfocus=window.__x=1>",
    "<marquee onstart=window.__x=1>x</marquee>",
    "<iframe srcdoc='<script>parent.__x=1</script>'></iframe>",
    "<iframe src=javascript:parent.__x=1></iframe>",
    f"<object data={URL}/o></object><embed src={URL}/e>",
    "<a href=javascript:window.__x=1>click</a>",
    "<a href='jav&#x09;ascript:window.__x=1'>click</a>",
    f"<form action={URL}><button>go</button></form>",
    f"<base href={URL}/>",
    f"<link rel=stylesheet href={URL}/s.css>",
    f"<meta http-equiv=refresh content='0;url={URL}'>",
    f"<style>@import '{URL}/i.css';*{{background:url({URL}/b)}}</style>",
    f"</style><style>body{{background:url({URL}/c)}}</style>",
    '" onmouseover="window.__x=1" x="',
    "' autofocus onfocus='window.__x=1",
    "`${window.__x=1}`",
    "${window.__x=1}",
    "{{window.__x=1}}{% for x in ().__class__.__bases__ %}{{x}}{% endfor %}",
    "{{ self.__init__.__globals__ }}",
    "';window.__x=1;//",
    "\\u003cscript\\u003ewindow.__x=1\\u003c/script\\u003e",
    "&lt;script&gt;window.__x=1&lt;/script&gt;",
    "&#60;script&#62;window.__x=1&#60;/script&#62;",
    "\u2028window.__x=1\u2029",
    "</title><script>window.__x=1</script>",
    "</textarea></noscript><script>window.__x=1</script>",
    "<noscript><p title='</noscript><img src=x onerror=window.__x=1>'>",
    "\x00<scr\x00ipt>window.__x=1</scr\x00ipt>",
    "\u202e<script>window.__x=1</script>\u202c\u2066x\u2069",
    "\x1b]8;;http://evil.invalid\x07link\x1b]8;;\x07\x1b[31m",
    "\uff1cscript\uff1ewindow.__x=1\uff1c/script\uff1e",
    "<template><script>window.__x=1</script></template>",
    '{"__proto__":{"x":1},"constructor":"window.__x=1"}',
    "javascript:window.__x=1",
    "data:text/html,<script>window.__x=1</script>",
    "<xss style=animation-name:x onanimationstart=window.__x=1>",
    "$\\frac{1}{0}$<svg/onload=window.__x=1>",
    "=HYPERLINK('http://evil.invalid')",
]

WATCH = """
window.__seen = [];
document.addEventListener('securitypolicyviolation', e => window.__seen.push('csp ' + e.violatedDirective));
window.addEventListener('error', e => window.__seen.push('error ' + e.message));
"""


@pytest.fixture(scope="module")
def browser():
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.fail("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"):
        options.add_argument(word)
    options.add_argument("--disable-dev-shm-usage")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    options.set_capability("unhandledPromptBehavior", "ignore")
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    made.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    yield made
    made.quit()


def show(browser, path, width=1280, scheme="light"):
    # Without motion a click need not wait for the page to come to rest.
    media = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": k, "value": v} for k, v in media.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("performance"), browser.get_log("browser")
    browser.get(path.as_uri())


def happened(browser):
    """Everything that should not: requests beyond the page itself, dialogs, violations, errors, markers."""
    found = list(browser.execute_script("return window.__seen"))
    if browser.execute_script("return typeof window.__x") != "undefined":
        found.append("a marker was executed")
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not (url.startswith("file:") and url.endswith("report.html")):
                found.append(f"request {url}")
        elif message["method"] == "Page.javascriptDialogOpening":
            found.append("dialog")
    found += [e["message"] for e in browser.get_log("browser")]
    return found


def texts(browser, selector):
    script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
    return browser.execute_script(script, selector)


def hostile(folder):
    """Every payload in every field that can hold it."""
    rows = []
    for k, p in enumerate(PAYLOADS):
        row = {"id": f"{k:03d}{p}", "split": "forget", "entity": p, "prompt": p, "target": p}
        row |= {"answers": {"before": p, "after": p, "retrained": f"x{p}"}}
        rows.append(
            row | {"scores": {"probability@forget": {"before": 0.9, "after": (k + 1) / 100, "retrained": 0.1}, p: {}}}
        )
        rows.append(row | {"id": f"s{k}", "split": p, "scores": {}})
    scores = folders.scores(folders.samples())
    benchmark = {"name": PAYLOADS[0], "cite": PAYLOADS[1], "headline": [], "metrics": []}
    for k, p in enumerate(PAYLOADS):
        kind = ("forget", "utility", "privacy", "fluency", p)[k % 5]
        benchmark["metrics"].append({"id": p, "title": p, "split": p, "wanted": "down", "kind": kind, "summary": p})
        benchmark["headline"].append(p)
        value = None if k % 2 else 0.5
        for tag in ("before", "after", "retrained", *([p] if k in (7, 15, 35) else [])):
            scores.append({"model": tag, "metric": p, "split": p, "value": value, "ci": [0.4, 0.6], "n": 3, "note": p})
    attacks = [folders.attack() | {"attack": p, "axis": p, "note": p} for p in PAYLOADS[:6]]
    for curve in attacks:
        for point in curve["points"]:
            point |= {"label": curve["attack"], "metric": curve["attack"]}
    events = [{"t": 1, "stage": p, "step": s, "loss": 1.0} for p in PAYLOADS[-3:] for s in (1, 2)]
    manifest = {
        "schema_version": PAYLOADS[0],
        "name": PAYLOADS[44],
        "plan_hash": PAYLOADS[1],
        "command": ["unsay", "run", *PAYLOADS],
        "created": PAYLOADS[2],
        "git": {"commit": PAYLOADS[3], "dirty": True},
        "packages": {p: p for p in PAYLOADS},
        "machine": {"cpu": PAYLOADS[4], "cores": PAYLOADS[5], "platform": PAYLOADS[6]},
        "models": {p: {"origin": p, "fingerprint": p, "path": p} for p in PAYLOADS},
        "data": {p: {"n": p, "fingerprint": p, "source": p} for p in PAYLOADS},
        "stages": [{"name": p, "seconds": 1.0, "peak_bytes": 1e9, "tokens": 5, "status": p} for p in PAYLOADS],
        "status": PAYLOADS[7],
        "error": PAYLOADS[8],
        "notes": PAYLOADS,
    }
    plan = "method:\n  name: npo\nname: " + json.dumps(PAYLOADS) + "\n"
    return folders.fabricate(
        folder,
        manifest=manifest,
        samples=rows,
        scores=scores,
        benchmark=benchmark,
        attacks=attacks,
        events=events,
        plan=plan,
    )


def test_the_watch_sees_what_it_should(browser, tmp_path):
    """A page that does everything wrong: otherwise the silence of the others would prove nothing."""
    page = tmp_path / "report.html"
    policy = "<meta http-equiv=Content-Security-Policy content=\"style-src 'none'\">"
    page.write_text(f"{policy}<p style='color:red'><script>window.__x=1;throw Error('e')</script><img src={URL}/p.png>")
    show(browser, page)
    found = " ".join(happened(browser))
    for word in ("a marker was executed", f"request {URL}/p.png", "csp style-src", "error Uncaught"):
        assert word in found, (word, found)


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory):
    return write_report(hostile(tmp_path_factory.mktemp("hostile") / "run"))


def test_hostile_texts_are_shown_and_do_nothing(browser, hostile_report):
    assert len(PAYLOADS) >= 40
    show(browser, hostile_report)
    for details in browser.find_elements(By.CSS_SELECTOR, "details:not([open]) > summary"):
        browser.execute_script("arguments[0].click()", details)
    Select(browser.find_element(By.ID, "per")).select_by_visible_text("100")
    wanted = [visible(p) for p in PAYLOADS]
    rows = "#table > tbody > tr"
    assert len(texts(browser, rows)) == len(PAYLOADS)
    by_id = browser.execute_script(_CELLS, rows)
    for k, shown in enumerate(wanted):
        cells = by_id[f"{k:03d}{shown}"]
        assert cells[:4] == [shown] * 4 and cells[4] == f"x{shown}", shown
    assert texts(browser, "#repeat ul li") == wanted
    headings = texts(browser, "#repeat tbody th")
    assert [h for h in headings if h in set(wanted)] == wanted  # stages
    assert {f"model: {w}" for w in wanted} <= set(headings)
    notes = set(texts(browser, ".scores .note"))
    assert set(wanted) <= notes
    assert set(wanted) <= set(texts(browser, ".scores .sub"))
    for more in browser.find_elements(By.CSS_SELECTOR, ".more")[:5]:
        more.click()
    assert happened(browser) == []


def test_search_by_payload_and_split_named_by_payload(browser, hostile_report):
    show(browser, hostile_report)
    select = Select(browser.find_element(By.ID, "split"))
    assert len(select.options) == 2 + len(PAYLOADS)
    select.select_by_value(visible(PAYLOADS[7]))
    WebDriverWait(browser, 10).until(lambda b: texts(b, "#count") == ["1–1 of 1"])
    assert texts(browser, ".first .text") == [visible(PAYLOADS[7])]
    assert happened(browser) == []


@pytest.fixture(scope="module")
def large_report(tmp_path_factory):
    folder = folders.fabricate(tmp_path_factory.mktemp("large") / "run", samples=folders.samples(100))
    return write_report(folder)


def first_values(browser, column):
    return [float(t) for t in texts(browser, f"#table > tbody > tr > td:nth-child({column}) .value span")]


def test_search_sort_filter_and_pages(browser, large_report):
    show(browser, large_report)
    count = lambda: browser.find_element(By.ID, "count").text  # noqa: E731
    assert count() == "1–25 of 1,000"  # the forget rows come first
    after = first_values(browser, 4)
    assert after == sorted(after, reverse=True) and len(set(after)) > 5
    Select(browser.find_element(By.ID, "split")).select_by_value("")
    assert count() == "1–25 of 2,500"

    header = "#table thead th:nth-child({}) button"
    browser.find_element(By.CSS_SELECTOR, header.format(5)).click()
    values = first_values(browser, 5)
    assert values == sorted(values, reverse=True)
    browser.find_element(By.CSS_SELECTOR, header.format(5)).click()
    values = first_values(browser, 5)
    assert values == sorted(values)
    states = [th.get_attribute("aria-sort") for th in browser.find_elements(By.CSS_SELECTOR, "#table thead th")]
    assert states == ["none", "none", "none", "none", "ascending"]
    browser.find_element(By.CSS_SELECTOR, header.format(1)).click()
    asked = texts(browser, ".first .text")
    assert asked == sorted(asked) and asked[0].startswith("What does Bashir")

    browser.find_element(By.ID, "next").click()
    assert count() == "26–50 of 2,500"
    browser.find_element(By.ID, "previous").click()
    assert count() == "1–25 of 2,500"
    assert not browser.find_element(By.ID, "previous").is_enabled()

    search = browser.find_element(By.ID, "search")
    search.send_keys("VALPARAÍSO tobias")
    WebDriverWait(browser, 10).until(lambda b: count() == "1–25 of 100")
    assert all("Tobias" in t for t in texts(browser, ".first .text"))
    search.send_keys(" zzz")
    WebDriverWait(browser, 10).until(lambda b: count() == "Nothing fits this search.")
    assert texts(browser, "#table > tbody > tr") == []
    search.clear()
    search.send_keys("00000000002a")
    WebDriverWait(browser, 10).until(lambda b: count() == "1–1 of 1")

    before = first_values(browser, 4)
    Select(browser.find_element(By.ID, "metric")).select_by_visible_text("rouge")
    assert first_values(browser, 4) != before
    browser.find_element(By.CSS_SELECTOR, ".more").click()
    assert texts(browser, ".all table tbody td:first-child") == ["probability", "rouge", "extraction-strength"]
    browser.find_element(By.CSS_SELECTOR, ".more").click()
    assert texts(browser, ".all") == []
    assert happened(browser) == []


def test_marked_words_are_those_that_only_the_target_gives(browser, large_report):
    show(browser, large_report)
    browser.find_element(By.ID, "search").send_keys("which instrument maren")
    WebDriverWait(browser, 10).until(lambda b: "of 100" in b.find_element(By.ID, "count").text)
    marked = set(texts(browser, "#table td:nth-child(3) mark"))
    assert {"bassoon", "orchestra"} <= marked
    assert not {"Maren", "the", "in"} & marked
    assert texts(browser, "#table td:nth-child(5) mark") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_fits_the_screen_in_both_schemes(browser, large_report, width, scheme):
    show(browser, large_report, width, scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor").startswith("rgb(20")
    assert dark is (scheme == "dark")
    worst = browser.execute_script(_CONTRAST)
    assert worst["ratio"] >= 4.5, worst
    assert happened(browser) == []


_CELLS = """
const rows = [...document.querySelectorAll(arguments[0])];
return Object.fromEntries(rows.map(row => [
  row.querySelector('code').textContent, [...row.querySelectorAll('.text')].map(e => e.textContent)]));
"""

# Text against the nearest opaque background behind it, as WCAG counts it.
_CONTRAST = """
const rgb = (c) => c.match(/[\\d.]+/g).map(Number);
const light = (c) => rgb(c).slice(0, 3).map(v => v / 255)
  .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
let worst = {ratio: 99};
for (const e of document.querySelectorAll('body *')) {
  if (!e.getClientRects().length || e.closest('svg') || e.disabled || e.closest(':disabled')) continue;
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
  let behind = e;
  while (behind && (rgb(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
  const pair = [light(getComputedStyle(e).color), light(getComputedStyle(behind || document.body).backgroundColor)];
  const ratio = (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
  if (ratio < worst.ratio) worst = {ratio, text: e.textContent.slice(0, 40), tag: e.tagName, className: e.className};
}
return worst;
"""
