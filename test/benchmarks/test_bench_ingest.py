"""The benchmark of ingest, on seconds of small pictures."""
import json

import pytest

from diffusion_planner import cli


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_measures_raw_and_jpeg(tmp_path, capsys, storage):
    assert not cli.main(['bench', 'ingest', '--seconds', '2', '--width', '64', '--height', '48', '--no-longer', '--storage', storage,
                         '--scratch', str(tmp_path), '--json', str(tmp_path / 'report.json')])
    report = json.loads((tmp_path / 'report.json').read_text())
    assert [run['pictures_as'] for run in report['runs']] == ['raw', 'jpeg'] and [run['pictures'] for run in report['runs']] == [10, 10]
    assert all(run['peak_mib'] > 1 and run['times_real_time'] > 0 and run['episode_s'] == pytest.approx(1.95, abs=0.06) for run in report['runs'])
    assert [path.name for path in tmp_path.iterdir()] == ['report.json'] and '64x48' in capsys.readouterr().out


def test_names_what_is_wrong(capsys):
    assert cli.main(['bench', 'ingest', '--storage', 'tape']) == 2 and "got 'tape', expected one of mcap, sqlite3" in capsys.readouterr().err
