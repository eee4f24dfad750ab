"""The page of an evaluated bag, as text: what it says, what it must not hold, and what becomes of poor reports."""
import html.parser
import json
import re

import pytest
from bag_reports import emptied, report, spoiled, timing, write

from diffusion_planner.evaluation import bag_page, bag_page_charts, bag_page_motion, bag_page_pictures
from diffusion_planner.evaluation.bag_page_html import Markup, duration, escaped, measure, number, ranged, tag
from diffusion_planner.evaluation.bag_page_svg import Axis, Frame, axis, log_axis, tight

VOID = {'img', 'meta', 'br'}
HOSTILE = '"><script>hit()</script><img src=x onerror=hit()>\'&'
SECTIONS = ['', 'verdict', *(name for name, *_ in bag_page.SECTIONS)]
MISSING = 'This report does not say'
ABSENT = {'motion': 'half a second after', 'reward': MISSING, 'success': MISSING, 'guidance': MISSING, 'inverse_dynamics': MISSING, 'limits': MISSING,
          'refusals': MISSING, 'pictures': MISSING, 'health': MISSING, 'verdict': 'holds no checks'}


class Reader(html.parser.HTMLParser):
    """Reads a page strictly: every element is closed where it ought to be. Keeps elements with their attributes, and texts by section."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.sections = [], [], {'': ''}
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop()[0] == name

    def handle_data(self, text):
        section = next((attributes['id'] for name, attributes in self.open if name == 'section'), '')
        self.sections[section] = self.sections.get(section, '') + text

    def values(self, *names):
        return [value for _, attributes in self.elements for name, value in attributes.items() if name in names]


def read(folder):
    return Reader(bag_page.write(folder).read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    return read(write(tmp_path_factory.mktemp('out')))


def test_every_section_says_its_figures(page):
    assert list(page.sections) == SECTIONS
    said = {'motion': ('going on at constant velocity', '0.700 (0.560 to 0.910)'), 'reward': ('0.930', 'judge'), 'success': ('of 30 plans',),
            'guidance': ('scale 2', '0.900 (0.720 to 1.170)'), 'typicality': ('held-out 99\u00a0% quantile', '10\u00a0% (8\u00a0% to 13\u00a0%)'),
            'refusals': ('3 of 40 instants', '90'), 'dynamics': ('elbow',), 'limits': ('0 of 37 chunks', 'elbow (2)'),
            'latency': ('median: 60\u00a0ms', '1 took longer'),
            'pictures': ('front, plan at 0\u00a0s', 'imagined from the context alone'),
            'health': ('/camera/image', '6 messages were rejected', 'a warning', 'a note on the bag')}
    for name, texts in said.items():
        assert MISSING not in page.sections[name]
        for text in texts:
            assert text in page.sections[name], (name, text)


def test_the_top_says_what_was_evaluated_and_the_worst_check_first(page):
    top = page.sections['verdict']
    assert 'Bag monday, model panda_reach' in page.sections[''] and '37 of 40 due' in page.sections['']
    assert 'Look closer first' in top and 'Sentence of all.' in top
    assert re.findall(r'Title of ([a-z]+)', top) == ['fourth', 'second', 'third', 'first']
    assert '10\u00a0% of the plans · warns above 5\u00a0%, fails above 20\u00a0%' in top and '0.600 ROC area · warns below 0.9, fails below 0.75' in top
    assert [text for text in ('✕', '!', '?', '✓') if text in top] == ['✕', '!', '?', '✓']


def test_it_needs_no_other_file_and_no_script(page):
    assert not {'script', 'link', 'iframe', 'object', 'base', 'form'} & {name for name, _ in page.elements}
    for address in page.values('src', 'href', 'srcset', 'action', 'poster', 'data', 'xlink:href', 'style', 'background'):
        assert address.startswith(('data:image/png;base64,', '#')), address
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith('on')]
    style = page.sections['']
    assert 'url(' not in style and '@import' not in style and 'http' not in style
    assert "default-src 'none'" in page.values('content')[0]


def test_charts_have_names_and_ids_are_unique(page):
    ids = page.values('id')
    assert len(ids) == len(set(ids)) and len(ids) > 50
    charts = [attributes for name, attributes in page.elements if name == 'svg' and attributes.get('role') == 'img']
    assert len(charts) >= 30
    for attributes in charts:
        assert set(attributes['aria-labelledby'].split()) <= set(ids)
    assert {target[1:] for target in page.values('href')} <= set(ids)
    assert all(text for text in page.values('alt')) and len(page.values('alt')) == len(page.values('src'))


def test_names_from_a_bag_are_text(tmp_path):
    hostile = spoiled(report(), lambda text: text if text.startswith('pictures/') or text in ('warn', 'ok', 'bad') else f'{text}{HOSTILE}')
    hostile['health']['picture_age_histogram'] = {HOSTILE: hostile['health']['picture_age_histogram']['front']}
    hostile['refusals']['candidates'][HOSTILE] = hostile['inverse_dynamics']['methods']['hold']['joints_rad'][HOSTILE] = 5
    hostile['motion']['methods'][HOSTILE] = hostile['motion']['methods']['guided']
    hostile['reward']['heads'][HOSTILE] = hostile['reward']['heads']['judge']
    page = read(write(tmp_path, hostile))
    assert 'script' not in {name for name, _ in page.elements} and 'x' not in page.values('src')
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith('on')]
    for name in ('', 'verdict', 'motion', 'reward', 'dynamics', 'refusals', 'health'):
        assert HOSTILE in page.sections[name], name


@pytest.mark.parametrize('name', sorted(set(report()) - {'format'}))
def test_a_section_that_is_missing_or_empty_breaks_nothing(name, tmp_path):
    whole = report(plans=20, steps=1)
    for content in ({key: value for key, value in whole.items() if key != name}, {**whole, name: None}, {**whole, name: emptied(whole[name])}):
        page = Reader(bag_page.page(content, tmp_path))
        assert list(page.sections) == SECTIONS and 'None' not in ''.join(page.sections.values())
        if name in ABSENT and not content.get(name):
            assert ABSENT[name] in page.sections[{'inverse_dynamics': 'dynamics'}.get(name, name)]


def test_a_report_of_nothing_is_a_page_that_says_so(tmp_path):
    page = read(write(tmp_path, {}, times={}))
    assert all(MISSING in page.sections[name] for name in SECTIONS[2:])
    page = read(write(tmp_path, emptied(report()), times=emptied(timing())))
    assert sum(MISSING in page.sections[name] for name in SECTIONS[2:]) >= 4 and 'Not all could be checked' in page.sections['verdict']


def test_reward_that_nobody_told_of_is_said(tmp_path):
    content = report()
    content['reward'] = {'known': False, 'heads': {'judge': {'all': {'n': 0, 'diagram': []}}}}
    page = read(write(tmp_path, content))
    assert 'Nobody says in this bag what was rewarded' in page.sections['reward']


def test_without_timing_the_rest_is_there(tmp_path):
    folder = write(tmp_path)
    (folder / 'timing.json').unlink()
    page = read(folder)
    assert MISSING in page.sections['latency'] and MISSING not in page.sections['motion']


def test_a_long_bag_stays_small(tmp_path):
    content = report(plans=4000, steps=40)
    path = bag_page.write(write(tmp_path, content, side_px=128))
    assert path.stat().st_size < 3_000_000
    page = Reader(path.read_text(encoding='utf-8'))
    assert 'more pictures are beside this page' in page.sections['pictures'] and '38 more plans' not in page.sections['pictures']


def test_equal_reports_make_equal_pages_and_nothing_half_written(tmp_path):
    first = bag_page.write(write(tmp_path)).read_bytes()
    assert bag_page.write(tmp_path).read_bytes() == first
    assert not list(tmp_path.glob('*.part'))


@pytest.mark.parametrize('text', ['', '[]', '{"motion": ', '\udcff'])
def test_what_is_no_report_is_one_line(text, tmp_path):
    (tmp_path / 'report.json').write_bytes(text.encode(errors='surrogateescape'))
    with pytest.raises(bag_page.PageError, match='report.json.*expected') as caught:
        bag_page.write(tmp_path)
    assert '\n' not in str(caught.value)
    with pytest.raises(bag_page.PageError, match='report.json'):
        bag_page.write(tmp_path / 'nowhere')


def test_pictures_come_from_the_folder_alone(tmp_path):
    folder = write(tmp_path / 'out')
    (tmp_path / 'secret.png').write_bytes((folder / 'pictures/0_500_real.png').read_bytes())
    assert bag_page_pictures._read(folder, 'pictures/0_500_real.png')
    for path in ('../secret.png', str(tmp_path / 'secret.png'), 'pictures/../../secret.png', 'pictures/none.png', ''):
        assert bag_page_pictures._read(folder, path) is None
    (folder / 'pictures/0_500_real.png').write_bytes(b'<svg onload="hit()">')
    page = read(folder)
    assert 'This picture is missing.' in page.sections['pictures'] and len(page.values('src')) == 3 * 7 - 1


def test_not_a_number_is_no_figure(tmp_path):
    content = json.dumps(report()).replace('"roc_area": 0.93', '"roc_area": NaN')
    folder = write(tmp_path)
    (folder / 'report.json').write_text(content)
    page = read(folder)
    assert 'ROC area––' in page.sections['reward']


def test_figures_are_written_for_people():
    assert [number(value) for value in (0, 3, 3.0, 0.12345, 1234567, -0.5, None, float('nan'), True, 1.5e-7)] == [
        '0', '3', '3', '0.123', '1 234 567', '−0.500', '–', '–', 'yes', '1.50e−07']
    assert [measure(*pair) for pair in ((0.004, 'm'), (0.04, 'm'), (4.0, 'm'), (0.05, 's'), (2.5, 's'), (0.042, 'share'), (0.42, 'share'), (0, 'share'),
                                             (None, 's'))] == [
        '4 mm', '4 cm', '4 m', '50 ms', '2.50 s', '4.2 %', '42 %', '0 %', '–']
    assert ranged([2.0, 0.5, 3.0], 's') == '2 s (0.500 s to 3 s)' and ranged([0.2, None, None], 's') == '200 ms' and ranged(None) == '–'
    assert [duration(value) for value in (6.9, 82.4, 7322.0, None)] == ['6.90 s', '1 min 22 s', '2 h 2 min', '–']
    assert tag('p', '<b>', Markup('<b>'), class_='a"b', hidden=True, title=None) == '<p class="a&quot;b" hidden>&lt;b&gt;<b></p>'
    assert escaped('5 % in 3 s, 2 sides') == '5\u00a0% in 3\u00a0s, 2 sides'


def test_axes_are_round_and_hold_everything():
    assert axis([0.013, 0.87], '', zero=True).ticks == (0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert axis([17.0, 31.0], '').low <= 17 and axis([17.0, 31.0], '').high >= 31
    assert axis([None, float('nan')], '').ticks and axis([5.0], '', zero=True).high >= 5
    assert tight(3, 47, '').ticks == (10, 20, 30, 40) and tight(1, 1, '').high > 1
    assert log_axis([0.1, 4], '', (0.1, 1, 4)).low < 0.1 and log_axis([], '', ()).high > 1
    halved = log_axis([0.1, 10], '', ())
    assert halved.share(1) == pytest.approx(0.5) and halved.share(0) == 0


def test_charts_draw_where_the_figures_are():
    frame = Frame(328, 330, Axis(0, 1, ticks=(0, 0.5, 1)), Axis(0, 1, ticks=(0, 0.5, 1)))
    assert frame.px(0.5) == pytest.approx((frame.px(0) + frame.px(1)) / 2, abs=0.1) and frame.py(0) > frame.py(1) and frame.px(7) == frame.px(1)
    series = bag_page_charts.Series('one', (0.1, 1.0, 2.0), (0.2, None, 1.8), (0.1, None, 1.7), (0.3, None, 1.9))
    _, drawn = bag_page_charts.lines([series], 'x', 'y', (0.1, 1, 2))(328)
    assert drawn.count('class="mark circle c0"') == 2 and drawn.count('band') == 1
    _, drawn = bag_page_charts.timeline([series], [(0, 1, 'first')], [('none', 'good', 'tick', [1.0, 1.001])], 'x', 'y', threshold=1.0)(328)
    assert drawn.count('alarm') == 1 and drawn.count('class="limit"') == 1 and drawn.count('mark tick good') == 1 and 'span0' in drawn
    _, drawn = bag_page_charts.histogram([0, 1, 2, 3], [4, 0, 2], 'x', 'y', [(1.5, 'limit')])(328)
    assert drawn.count('class="bar"') == 2 and 'class="limit"' in drawn
    _, drawn = bag_page_charts.bars([('half', 0.5, 'c0'), ('whole', 1.0, 'c0')], 'x', reference=1.0)(328)
    widths = [float(text) for text in re.findall(r'width="([\d.]+)"', drawn)]
    assert widths[0] == pytest.approx(widths[1] / 2, abs=0.1)


def test_what_is_beyond_a_limit_is_alarming():
    content = report()
    content['limits']['chunks']['largest']['jerk'] = {'largest': 0.5}
    drawn = ''.join(bag_page_motion.limits(content, None))
    assert drawn.count('class="bar alarm"') == 2 * 2 and drawn.count('class="bar c0"') == 2


def test_timing_is_drawn_with_the_time_there_is(page):
    assert timing()['deadline_ms'] == 240 and 'time there is for a plan: 240\u00a0ms' in page.sections['latency']
