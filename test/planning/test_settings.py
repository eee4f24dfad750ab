"""How the planner says no: what was counted, in words, and nothing that was not."""
import pytest
from hypothesis import given, strategies as st

from diffusion_planner.planning.settings import NoSafeCandidate, StrangeScene


def test_reasons_without_a_count_are_left_out():
    refused = NoSafeCandidate({'far token not typical': 0, 'joint limits': 3, 'unfamiliar posture': 0, 'objective: cup': 1})
    assert str(refused) == 'no safe candidate: 3 joint limits, 1 objective: cup'
    assert refused.reasons['far token not typical'] == 0        # they stay in the account


@given(st.dictionaries(st.text('abc ', min_size=1), st.integers(0, 5)))
def test_a_message_names_every_reason_that_applied_and_no_zero(reasons):
    told = str(NoSafeCandidate(reasons))
    assert all(f'{count} {reason}' in told for reason, count in reasons.items() if count)
    assert told.startswith('no safe candidate: ') and ' 0 ' not in f' {told.removeprefix("no safe candidate: ")} '.replace(', ', ' , ')


@pytest.mark.parametrize('figures, said', [({'colours': 0.4, 'picture': 3.14}, 'picture 3.1'), ({'colours': 27.5, 'latent': 27.4}, 'colours 28'),
                                           ({'latent': 2304.0}, 'latent 2.3e+03')])
def test_a_strange_scene_says_in_which_way_and_by_how_much(figures, said):
    refused = StrangeScene(figures)
    assert str(refused) == f'scene unlike the play data: {said} times what play shows'
    assert refused.figures == figures and refused.reasons == {'scene unlike the play data': 1}


def test_a_strange_scene_is_a_refusal_like_any_other():
    with pytest.raises(NoSafeCandidate):
        raise StrangeScene({'latent': 2.0})
