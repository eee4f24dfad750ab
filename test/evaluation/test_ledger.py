"""The book of finished episodes: what is kept, what is forgotten, and what a kill may do to it."""
import json

from hypothesis import HealthCheck, given, settings, strategies as st

from diffusion_planner.evaluation.ledger import Ledger


def test_what_was_added_is_there_again(tmp_path):
    path = tmp_path / 'deep' / 'book.jsonl'                   # folders are made
    ledger = Ledger(path, 'mark')
    ledger.add([{'seed': 1, 'success': True, 'judged': [{'came': None}]}, {'seed': 2, 'success': False}])
    ledger.add([{'seed': 3}])
    again = Ledger(path, 'mark')
    assert set(again.results) == set(ledger.results) == {1, 2, 3}
    assert again.results[1]['judged'] == [{'came': None}] and again.results[1]['success'] is True


def test_episodes_of_other_weights_are_not_counted_and_not_lost(tmp_path):
    path = tmp_path / 'book.jsonl'
    Ledger(path, 'before').add([{'seed': 1}, {'seed': 2}])
    later = Ledger(path, 'after')
    assert later.results == {}
    later.add([{'seed': 1, 'success': True}])
    assert set(Ledger(path, 'before').results) == {1, 2} and set(Ledger(path, 'after').results) == {1}


def test_the_latest_of_two_with_one_seed_counts(tmp_path):
    ledger = Ledger(tmp_path / 'book.jsonl', 'mark')
    ledger.add([{'seed': 1, 'success': False}])
    ledger.add([{'seed': 1, 'success': True}])
    assert Ledger(tmp_path / 'book.jsonl', 'mark').results[1]['success'] is True


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 400))
def test_cut_off_anywhere_it_loses_no_more_than_the_last_line_and_goes_on(tmp_path, lost):
    path = tmp_path / 'book.jsonl'
    path.unlink(missing_ok=True)
    ledger = Ledger(path, 'mark')
    for seed in range(5):
        ledger.add([{'seed': seed, 'success': True}])
    whole = path.read_text()
    path.write_text(whole[:max(0, len(whole) - lost)])
    kept = sum(1 for line in path.read_text().splitlines() if line.endswith('}'))
    resumed = Ledger(path, 'mark')
    assert set(resumed.results) == set(range(kept))
    resumed.add([{'seed': 9}])
    assert set(Ledger(path, 'mark').results) == {*range(kept), 9}


def test_every_line_is_json_by_itself(tmp_path):
    path = tmp_path / 'book.jsonl'
    Ledger(path, 'mark').add([{'seed': 1}, {'seed': 2}])
    assert [json.loads(line)['seed'] for line in path.read_text().split('\n') if line] == [1, 2]
