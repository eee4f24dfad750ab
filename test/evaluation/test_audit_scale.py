"""The scale to use and the knee, of rows that are written down here."""
from diffusion_planner.evaluation.audit_scale import recommend


def _row(mode, scale, success, realised=0.5):
    return {'mode': mode, 'scale': scale, 'success': [success, 0, 1], 'realised_reward': realised if realised is None else [realised, 0, 1]}


def test_the_knee_is_the_last_scale_before_success_falls():
    # Best 0.95: good are those from 0.93 on. Guarded from 0.5 to 2, free only 0.25; that 8 and 4 are good again is past the fall.
    rows = [_row('guarded', scale, success) for scale, success in ((0.0, 0.5), (0.5, 0.94), (1.0, 0.95), (2.0, 0.93), (4.0, 0.9), (8.0, 0.94))]
    rows += [_row('free', scale, success) for scale, success in ((0.25, 0.9), (1.0, 0.4), (4.0, 0.9))]
    found = recommend(rows[::-1])                                # in whatever order
    assert found['knee_guarded'] == 2.0 and found['knee_free'] == 0.25 and 'knee_damped' not in found


def test_where_success_does_not_fall_within_the_sweep_there_is_no_knee():
    rows = [_row('guarded', scale, success) for scale, success in ((0.0, 0.1), (1.0, 0.94), (8.0, 0.95))] + [_row('damped', 0.5, 0.9)]
    assert recommend(rows) == {'knee_guarded': None, 'recommended_scale': 1.0, 'knee_damped': None}


def test_of_good_scales_the_one_whose_plans_come_true_most_is_recommended():
    # 0.5, 1 and 2 are good; plans of 1 and 2 come true within 0.02 of the best: the smaller of them. 8 keeps its promises but fails.
    rows = [_row('guarded', *told) for told in ((0.25, 0.5, 0.99), (0.5, 0.95, 0.60), (1.0, 0.96, 0.80), (2.0, 0.95, 0.81), (8.0, 0.6, 0.99))]
    assert recommend(rows)['recommended_scale'] == 1.0


def test_a_tie_goes_to_the_smaller_scale():
    assert recommend([_row('guarded', scale, 1.0, 1.0) for scale in (2.0, 0.5, 1.0)])['recommended_scale'] == 0.5


def test_without_guarded_rows_nothing_is_recommended():
    found = recommend([_row('free', 1.0, 0.9), _row('free', 2.0, 0.1)])
    assert found == {'knee_free': 1.0}


def test_scales_that_made_no_plan_are_not_the_ones_to_use():
    rows = [_row('guarded', 0.0, 0.0, None), _row('guarded', 1.0, 0.0, 0.3)]
    assert recommend(rows)['recommended_scale'] == 1.0
