"""The page of an evaluated bag in a real browser: opened from its file on a phone and on a desk, in light and dark, and on paper."""
import pytest
from bag_reports import report, spoiled, write
from browser import PROGRAM, Browser

from diffusion_planner.evaluation import bag_page

pytestmark = pytest.mark.skipif(PROGRAM is None, reason='no Chromium on PATH')
PHONE, TABLET, DESK = (360, 800), (768, 1024), (1280, 900)
LEAST_PX, TAP_PX, CONTRAST = 15, 44, 4.5

WIDTHS = '[document.documentElement.scrollWidth, document.documentElement.clientWidth]'
SHOWN = '[...document.querySelectorAll("section")].map(e => e.id + ":" + (e.getBoundingClientRect().height > 60))'
SHOWN_AT = {PHONE: {'narrow'}, TABLET: {'narrow', 'middle'}, DESK: {'wide'}}
ONCE = '''[...document.querySelectorAll("figure:has(svg[role])")].filter(f => f.offsetParent).every(
  f => [...f.querySelectorAll("svg[role]")].filter(e => e.getClientRects().length).length == 1)'''
CHARTS = '[...document.querySelectorAll("figure > div")].filter(e => e.offsetParent).map(e => e.className)'
# Text sizes as they appear on the screen; a chart's letters shrink and grow with it.
SIZES = '''[...document.querySelectorAll("body *")].filter(e => e.offsetParent || e.ownerSVGElement).flatMap(e => {
  const own = [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim());
  if (!own || ["title", "desc", "STYLE"].includes(e.tagName) || e.closest(".hidden") || e.getBoundingClientRect().width == 0) return [];
  const scale = e.getScreenCTM ? e.getScreenCTM().a : 1;
  return [parseFloat(getComputedStyle(e).fontSize) * scale]; })'''
OUTSIDE = '''[...document.querySelectorAll("svg text")].filter(e => e.getBoundingClientRect().width).map(e => e.getBoundingClientRect()).filter(
  r => r.left < -0.5 || r.right > document.documentElement.clientWidth + 0.5).length'''
TAPS = '[...document.querySelectorAll("summary, nav a")].filter(e => e.offsetParent).map(e => e.getBoundingClientRect().height)'
CONTRASTS = '''(() => {
  const light = c => { const v = c.match(/[0-9.]+/g).slice(0, 3).map(x => x / 255).map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } };
  return [...document.querySelectorAll("h1, h2, p, dd, dt, li, th, td, summary, nav a, figcaption span, .sign, svg text")].filter(
    e => e.getClientRects().length).map(e => {
    const pair = [light(getComputedStyle(e)[e.ownerSVGElement ? "fill" : "color"]), light(ground(e))].sort((a, b) => a - b);
    return (pair[1] + 0.05) / (pair[0] + 0.05); }); })()'''


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    started = Browser(tmp_path_factory.mktemp('browser'))
    yield started
    started.close()


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    return bag_page.write(write(tmp_path_factory.mktemp('out')))


@pytest.mark.parametrize('dark', [False, True], ids=['light', 'dark'])
@pytest.mark.parametrize('size', [PHONE, TABLET, DESK], ids=['phone', 'tablet', 'desk'])
def test_it_reads_well(browser, page, size, dark):
    browser.open(page, *size, dark=dark)
    width, room = browser.run(WIDTHS)
    assert width <= room <= size[0], 'the page must not scroll sideways'
    assert browser.run(SHOWN) == [f'{name}:true' for name in ('verdict', *(name for name, *_ in bag_page.SECTIONS))]
    assert set(browser.run(CHARTS)) == SHOWN_AT[size] and browser.run(ONCE)
    sizes = browser.run(SIZES)
    assert len(sizes) > 200 and min(sizes) >= LEAST_PX - 0.2, min(sizes)
    assert browser.run(OUTSIDE) == 0
    assert min(browser.run(TAPS)) >= TAP_PX
    contrasts = browser.run(CONTRASTS)
    assert len(contrasts) > 150 and min(contrasts) >= CONTRAST, min(contrasts)
    ground = browser.run('getComputedStyle(document.body).backgroundColor')
    assert (int(ground.split('(')[1].split(',')[0]) < 60) == dark
    assert browser.requests == [page.as_uri()] and browser.complaints == []


def test_the_narrowest_phone_has_room(browser, page):
    browser.open(page, 320, 640)
    assert browser.run('document.documentElement.scrollWidth') <= 320


def test_details_open_by_a_click_and_their_tables_scroll_within_themselves(browser, page):
    browser.open(page, *PHONE)
    count = browser.run('document.querySelectorAll("details").length')
    assert count >= 10 and browser.run('document.querySelectorAll("details[open]").length') == 0
    for index in range(count):
        x, y = browser.run(f'''(() => {{ const e = document.querySelectorAll("summary")[{index}]; e.scrollIntoView({{block: "center"}});
            const r = e.getBoundingClientRect(); return [r.left + 20, r.top + 20]; }})()''')
        browser.click(x, y)
    assert browser.run('document.querySelectorAll("details[open]").length') == count
    assert browser.run('document.documentElement.scrollWidth') <= PHONE[0]
    assert browser.run('[...document.querySelectorAll(".scroll")].some(e => e.scrollWidth > e.clientWidth)')
    assert browser.complaints == []


def test_links_lead_to_their_sections(browser, page):
    browser.open(page, *PHONE)
    browser.run('document.querySelector("nav a[href=\'#health\']").click()')
    assert browser.run('Math.abs(document.getElementById("health").getBoundingClientRect().bottom - innerHeight) < 250 || '
                       'Math.abs(document.getElementById("health").getBoundingClientRect().top) < 20')


def test_on_paper_everything_is_there(browser, page):
    browser.open(page, 794, 1123, dark=True, paper=True)
    assert browser.run('getComputedStyle(document.body).backgroundColor') == 'rgb(255, 255, 255)'
    assert browser.run('[...document.querySelectorAll("details table")].every(e => e.checkVisibility())')
    assert browser.run('document.querySelector("nav").offsetParent') is None
    assert browser.run('[...document.querySelectorAll("table")].every(e => e.getBoundingClientRect().right <= innerWidth)')
    assert set(browser.run(CHARTS)) == {'narrow', 'middle'} and browser.run(OUTSIDE) == 0


def test_names_from_a_bag_run_nothing_and_break_no_layout(browser, tmp_path):
    hostile = '"><script>document.title="hit"</script><img src=http://nowhere.example/x onerror=document.title="hit">' + 60 * 'long'
    content = spoiled(report(), lambda text: text if text.startswith('pictures/') or text in ('warn', 'ok', 'bad') else f'{text}{hostile}')
    path = bag_page.write(write(tmp_path, content))
    browser.open(path, *PHONE)
    assert browser.run('document.querySelectorAll("script").length') == 0 and 'onerror' in browser.run('document.title')
    assert browser.run('document.documentElement.scrollWidth') <= PHONE[0]
    assert browser.requests == [path.as_uri()] and browser.complaints == []
