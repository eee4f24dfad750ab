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
SECTIONS = (
    ('motion', 'Planned and executed motion',
     'How far the arm really was from where plans had it: lower is better, and a model is worth its name where it is below the dashed guesses. '
     'A plan that goes somewhere else on purpose is far off here without being wrong.', bag_page_motion.motion),
    ('reward', 'Reward, predicted and realised',
     'What really happened, judged as if it had been imagined: on the diagonal, the heads say what comes; above it they are too timid, below it too sure.',
     bag_page_reward.reward),
    ('success', 'What plans promised', 'Whether reward came by the arrival of each plan, against how sure the plan was of it.', bag_page_reward.success),
    ('guidance', 'Guided and unguided',
     'The same instants with guidance and without: more predicted reward is worth something where the judge, which does not guide, sees it too '
     'and typicality stays below 1.', bag_page_reward.guidance),
    ('typicality', 'Typicality along the bag',
     'How usual this is for the model, one mark per plan: above the red line are motion or pictures that the model has hardly seen the like of.',
     bag_page_running.typicality),
    ('refusals', 'Refusals', 'Where no plan was made, and why; on the arm, it would brake and hold there.', bag_page_running.refusals),
    ('dynamics', 'Inverse dynamics', 'How far the command that the model infers is from where the arm was next: shorter is better.', bag_page_motion.dynamics),
    ('limits', 'Limits', 'How much of the robot\'s limits the chunks would have used: no bar may pass the red line.', bag_page_motion.limits),
    ('latency', 'Latency', 'How long planning took on the machine that made this report: what lies right of the red line would come too late.',
     bag_page_running.latency),
    ('pictures', 'Imagined and real pictures',
     'What the model thinks the camera will see, beside what it saw: look whether the arm and what matters are in the right place.',
     bag_page_pictures.pictures),
    ('health', 'Health of the data', 'How the topics were recorded: look for rates other than expected, gaps, and rejected messages.', bag_page_running.health),
)


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
        content = json.loads(path.read_text(encoding='utf-8'))
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
