"""Section of the page about imagined against real pictures, which travel in the page itself."""
import base64
from pathlib import Path, PurePosixPath

from diffusion_planner.evaluation.bag_page_charts import Series, figure, lines
from diffusion_planner.evaluation.bag_page_html import about, details, dig, grid, known, listed, measure, named, note, number, table, tag, worded

# kind in the report -> what it is called here, colour and mark of its curve
KINDS = {'told': ('imagined, told where the arm went', 0), 'imagined': ('imagined from the context alone', 1), 'decoded': ('real, through the decoder', 3),
         'unchanged': ('picture when planning', 2)}
REAL, BEFORE = 'real', 'unchanged'
OPEN = 2                      # plans whose pictures are there without a click
BUDGET_BYTES = 1_700_000      # of picture files: a third more as text
SIGNATURES = {b'\x89PNG\r\n\x1a\n': 'image/png', b'\xff\xd8\xff': 'image/jpeg'}


def called(kind):
    """Say what a kind of picture is called on the page."""
    return KINDS[kind][0] if kind in KINDS else kind


def pictures(report, folder):
    """Draw how like the real pictures imagined ones are by offset, then a handful of them side by side."""
    found = named(report, 'pictures')
    charts = [_chart(found, 'psnr_db', 'Likeness', 'PSNR, dB', 'higher is more alike'),
              _chart(found, 'mae', 'Difference', 'levels of 255', 'lower is more alike')]
    shown, left = _sheets(listed(found, 'saved'), Path(folder))
    if not any(charts) and not shown:
        return []
    more = [details(f'{len(shown) - OPEN} more plans', *shown[OPEN:])] if len(shown) > OPEN else []
    more += [note(f'{left} more pictures are beside this page, not in it.')] if left else []
    return [grid(*charts), *shown[:OPEN], *more, details('Figures by offset', about(found), _table(listed(found, 'table')))]


def _table(rows):
    cells = [(called(worded(row, 'kind')), measure(dig(row, 'offset_s'), 's'), number(dig(row, 'psnr_db', 'median')), number(dig(row, 'psnr_db', 'p05')),
              number(dig(row, 'mae', 'median')), number(dig(row, 'mae', 'p95')), number(dig(row, 'n'))) for row in rows]
    head = ('kind', 'ahead', 'PSNR median, dB', 'PSNR 5 %, dB', 'difference median', 'difference 95 %', 'pictures')
    return table(head, cells, 'Imagined against real pictures')


def _chart(found, key, title, label, caption):
    curves = [one for one in (_curve(listed(found, 'table'), kind, key) for kind in KINDS) if one.points()]
    if not curves:
        return None
    ticks = sorted({x for one in curves for x, *_ in one.points()})
    description = f'{label} over seconds ahead. {"; ".join(one.told() for one in curves)}.'
    return figure(f'pictures-{key.replace("_", "-")}', title, description, lines(curves, 'seconds ahead', label, ticks, zero=key == 'mae'), curves,
                  caption=f'median; shaded: 5 to 95 %; {caption}')


def _curve(rows, kind, key):
    rows = sorted((row for row in rows if dig(row, 'kind') == kind and known(dig(row, 'offset_s'))), key=lambda row: row['offset_s'])
    values = [tuple(dig(row, key, name) for row in rows) for name in ('median', 'p05', 'p95')]
    return Series(called(kind), tuple(row['offset_s'] for row in rows), *values, KINDS[kind][1], kind == BEFORE)


def _sheets(saved, folder):
    """Lay out saved pictures by plan and camera: -> list of markup, how many pictures there was no room for"""
    plans, spent, left = {}, 0, 0
    for row in saved:
        read = {kind: _read(folder, path) for kind, path in named(row, 'files').items()}
        size = sum(len(content or b'') for kind, content in read.items())
        if spent + size > BUDGET_BYTES:
            left += len(read)
            continue
        spent += size
        plans.setdefault((worded(row, 'step'), worded(row, 'camera')), []).append((row, read))
    return [_sheet(camera, rows) for (_, camera), rows in plans.items()], left


def _sheet(camera, rows):
    """Lay out one plan's pictures: as it was when planning, then by offset the real one and what was imagined."""
    first, read = rows[0]
    parts = [tag('h3', f'{camera}, plan at {measure(dig(first, "since_s"), "s")}')]
    parts += [_strip('when planning', camera, {REAL: read[BEFORE]})] if BEFORE in read else []
    for row, read in rows:
        order = sorted(read, key=lambda kind: [REAL, *KINDS].index(kind) if kind in KINDS or kind == REAL else len(KINDS) + 1)
        parts.append(_strip(f'{measure(dig(row, "offset_s"), "s")} ahead', camera, {kind: read[kind] for kind in order if kind != BEFORE}))
    return tag('div', *parts, class_='sheet')


def _strip(text, camera, shown):
    cells = [tag('figure', _image(content, f'{camera}, {text}: {called(kind)}'), tag('figcaption', called(kind))) for kind, content in shown.items()]
    return tag('div', tag('p', text, class_='when'), tag('div', *cells, class_='pictures'), class_='strip')


def _image(content, text):
    kind = next((kind for signature, kind in SIGNATURES.items() if content and content.startswith(signature)), None)
    if kind is None:
        return note('This picture is missing.')
    return tag('img', src=f'data:{kind};base64,{base64.b64encode(content).decode()}', alt=text)


def _read(folder, path):
    """Read a picture beside the report; nothing outside of its folder is."""
    path = PurePosixPath(str(path))
    if path.is_absolute() or '..' in path.parts:
        return None
    try:
        return folder.joinpath(*path.parts).read_bytes()
    except OSError:
        return None
