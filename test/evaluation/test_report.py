"""What a session prints and writes."""
import io
import json

from rich.console import Console

from diffusion_planner.evaluation import report


def row(seed, success=True, seconds=2.0, **changes):
    return {'seed': seed, 'success': success, 'time_to_target_s': seconds if success else None, 'contacts': 0, 'limit_violations': 0,
            'deadline_misses': 1, 'chunks_rejected': 0, 'elapsed_s': 3.0, 'done': True, 'plan_ms': [50.0, 70.0], **changes}


def test_summary_by_hand():
    figures = report.summarise_session([row(0, seconds=1.0), row(1, seconds=2.0), row(2, seconds=6.0), row(3, success=False)])
    assert figures['success_rate'] == 0.75 and figures['time_to_target_s'] == 3.0 and figures['time_to_target_median_s'] == 2.0
    assert figures['deadline_misses'] == 4 and figures['plans'] == 8 and figures['plan_ms_p50'] == 60.0


def test_report_is_replaced_whole(tmp_path):
    path = tmp_path / 'new' / 'sim.json'
    for count in (1, 2):
        report.write_report(path, {'seed': 0}, [row(seed) for seed in range(count)], tmp_path / 'film.mp4')
        assert json.loads(path.read_text())['summary']['episodes'] == count
    assert list(path.parent.iterdir()) == [path]


def test_no_episode_is_no_error(tmp_path):
    report.write_report(tmp_path / 'sim.json', {}, [])
    assert report.summary_lines([]) == ['no episode was finished']


def test_lines_for_logs_and_a_table_that_fits_the_terminal():
    rows = [row(seed) for seed in range(40)] + [row(40, success=False)]
    console = Console(file=io.StringIO(), width=120)
    with report.View(console, 'title') as view:
        view.show(rows[:40])
        view.show(rows)
    assert len(console.file.getvalue().splitlines()) == 41
    assert 'target not reached' in console.file.getvalue().splitlines()[-1]
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120, height=20)
    with report.View(terminal, 'title') as view:
        view.show(rows, row(41, done=False))
    assert '\x1b[?25h' in terminal.file.getvalue()     # the cursor is given back
    assert terminal.file.getvalue().count('50') <= 40
