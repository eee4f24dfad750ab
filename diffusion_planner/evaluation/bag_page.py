"""The report of an evaluated bag as one HTML file: drawn from its JSON and the pictures listed there, and from nothing else.

The file needs no network, no script and no other file; its content security policy forbids them, whatever a bag's names may hold.
"""
import json
import os
from pathlib import Path

from diffusion_planner.evaluation import bag_page_motion, bag_page_pictures, bag_page_reward, bag_page_running
from diffusion_planner.evaluation.bag_page_html import Markup, join, note, tag
from diffusion_planner.evaluation.bag_page_style import style
from diffusion_planner.evaluation.bag_page_verdict import facts, verdict

NAME, REPORT, TIMING = 'report.html', 'report.json', 'timing.json'
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
# id, title, how to read it, what draws it: draw(report, folder) -> list of markup, empty where the report says nothing
SECTIONS = (*bag_page_motion.SECTIONS, *bag_page_reward.SECTIONS, *bag_page_running.SECTIONS, *bag_page_pictures.SECTIONS)


class PageError(ValueError):
    """A folder without a report; the message says what was expected."""


def write(folder):
    """Write OUT/report.html from OUT/report.json and OUT/timing.json: write(folder) -> path. Raises PageError."""
    folder = Path(folder)
    report = _read(folder / REPORT)
    report['timing'] = _read(folder / TIMING) if (folder / TIMING).exists() else None
    part = folder / f'{NAME}.part'
    part.write_text(page(report, folder), encoding='utf-8')
    os.replace(part, folder / NAME)
    return folder / NAME


def _read(path):
    try:
        content = json.loads(path.read_text(encoding='utf-8'), parse_constant=lambda _: None)
    except (OSError, ValueError) as error:
        raise PageError(f'{path}: {error}; expected the report of "diffusion-planner evaluate"') from error
    if not isinstance(content, dict):
        raise PageError(f'{path}: got a {type(content).__name__}, expected an object')
    return content


def page(report, folder):
    """Lay out the page: page(report, folder of its pictures) -> HTML"""
    drawn = [(name, title, _section(name, title, lead, draw(report, folder))) for name, title, lead, draw in SECTIONS]
    links = [tag('li', tag('a', title, href=f'#{name}')) for name, title, _ in drawn]
    title, head = facts(report)
    body = [tag('header', tag('h1', title), *head, class_='top'),
            tag('main', verdict(report), tag('nav', tag('ul', *links), aria_label='Sections'), *(section for *_, section in drawn)),
            tag('footer', tag('p', 'Made by ', tag('code', 'diffusion-planner evaluate'), f' from {REPORT} and {TIMING} beside this page, '
                              'which hold every figure. This page loads nothing and sends nothing.'))]
    head = [tag('meta', charset='utf-8'), tag('meta', http_equiv='Content-Security-Policy', content=POLICY),
            tag('meta', name='viewport', content='width=device-width,initial-scale=1'), tag('meta', name='color-scheme', content='light dark'),
            tag('meta', name='referrer', content='no-referrer'), tag('title', title), tag('style', Markup(style()))]
    return f'<!DOCTYPE html>\n{tag("html", tag("head", *head), tag("body", *body), lang="en")}\n'


def _section(name, title, lead, parts):
    missing = [note('This report does not say: the bag, or the model, has nothing to measure it by.')]
    return tag('section', tag('h2', title, id=f'{name}-h'), tag('p', lead, class_='lead'), join(parts or missing), id=name,
               aria_labelledby=f'{name}-h')
