"""The combined judge: what it makes of judgements, and that it fits what can be known."""
import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from diffusion_planner.planning.forecast import FEATURES, Forecast, along, features, fit, fit_curve

VALUES = {'reward': [0.5, 0.9], 'panel': [0.5, 0.8], 'doubt': [0.0, 0.3], 'judge': [0.5, 0.2], 'typicality': [1.0, 0.5], 'reach': [0.0, 3.0],
          'steps': [1.0, -50.0], 'genuineness': [0.0, 2.0], 'familiarity': [0.5, 0.5], 'consistency_rad': [0.0, 0.01]}


def _random(seed, count=400):
    return np.random.default_rng(seed).normal(size=(count, len(FEATURES)))


def test_features_by_hand():
    # Probabilities become log-odds: 0.9 is log 9, 0.8 log 4, 0.2 -log 4. Half the typical residual is -log 1/2. What is far is cut at 20.
    laid_out = features({name: np.array(column) for name, column in VALUES.items()})
    assert laid_out.shape == (2, len(FEATURES))
    row = dict(zip(FEATURES, laid_out[1]))
    assert row == pytest.approx({'reward': np.log(9), 'panel': np.log(4), 'agreement': -0.3, 'judge': -np.log(4), 'typicality': np.log(2),
                                 'reach': 3.0, 'steps': -20.0, 'genuineness': 2.0, 'familiarity': 0.5, 'consistency': -0.01})
    assert dict(zip(FEATURES, laid_out[0]))['typicality'] == 0        # log 1


def test_what_a_model_lacks_or_does_not_know_is_0():
    row = dict(zip(FEATURES, features({'reward': np.array([0.9]), 'judge': np.array([np.nan])})[0]))
    assert row['reward'] == pytest.approx(np.log(9)) and not any(value for name, value in row.items() if name != 'reward')


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_features_are_finite_whatever_a_head_is_sure_of(reward):
    laid_out = features({'reward': np.array(reward), 'typicality': np.zeros(len(reward))})
    assert np.isfinite(laid_out).all()
    assert (np.diff(laid_out[np.argsort(reward, kind='stable'), 0]) >= 0).all()       # better the higher


def test_fit_recovers_who_decides():
    # The log-odds are 2 x the first and 1 x the second feature; nothing else has to do with it.
    rows = _random(0, 6000)
    happened = np.random.default_rng(1).random(6000) < 1 / (1 + np.exp(-(2 * rows[:, 0] + rows[:, 1] + 0.5)))
    fitted = fit(rows, happened)
    weight = fitted.weight / fitted.spread
    assert weight[0] == pytest.approx(2, abs=0.2) and weight[1] == pytest.approx(1, abs=0.15)
    assert weight[2:].max() < 0.12 and (rows @ weight)[happened].mean() > (rows @ weight)[~happened].mean()


def test_fit_tells_what_can_be_told_apart():
    rows = _random(2)
    happened = rows[:, 3] > 0.2
    fitted = fit(rows, happened)
    odds = ((rows - fitted.mean) / fitted.spread) @ fitted.weight + fitted.bias
    assert ((odds > 0) == happened).mean() > 0.97 and np.isfinite(odds).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_no_weight_goes_below_0(seed):
    rows = _random(seed, 100)
    fitted = fit(rows, rows[:, 0] + rows[:, 1] < 0)                    # the first two fit backwards
    assert (fitted.weight >= 0).all() and fitted.weight[:2].max() < 1e-3


@pytest.mark.parametrize('happened', [True, False])
def test_what_always_or_never_happened_is_fitted_too(happened):
    fitted = fit(_random(3, 50), np.full(50, happened))
    assert np.isfinite([*fitted.weight, fitted.bias]).all() and (fitted.bias > 2) == happened


def test_what_never_changes_gets_no_weight():
    rows = _random(4)
    rows[:, 5] = 7.0
    assert fit(rows, rows[:, 0] > 0).weight[5] == 0


def _forecast(**changes):
    idle = np.zeros(len(FEATURES))
    given = {'mean': idle, 'spread': idle + 1, 'weight': idle, 'bias': 0.0} | changes
    return Forecast(**given)


def test_what_comes_true_by_hand():
    # Weight 1 on the log-odds of the head that guides: log 9 less a bias of log 3 is log 3, a chance of 3/4.
    weight = np.zeros(len(FEATURES))
    weight[0] = 1.0
    said = _forecast(weight=weight, bias=-np.log(3)).judge({'reward': np.array([0.9])}, True)
    assert said['comes_true'] == pytest.approx([0.75])


@pytest.mark.parametrize('guarded, shares', [(True, [0.2, 0.5, 0.65, 0.8]), (False, [0.1, 0.3, 0.4, 0.5])])
def test_success_follows_the_curve_of_its_kind_and_stays_level_above_it(guarded, shares):
    curves = ((-1.0, 1.0), (0.2, 0.8)), ((-1.0, 1.0), (0.1, 0.5))
    said = [_forecast(bias=bias, episode=curves).judge({'reward': np.array([0.5])}, guarded)['success'][0] for bias in (-1.0, 0.0, 0.5, 40.0)]
    assert said == pytest.approx(shares)


def test_below_the_curve_success_falls_with_the_odds_by_hand():
    # Odds of 4 to 1 at the first knot; e^-log 8 times that is 1 to 2, and 1e-5 times that 4 to 100,000.
    curve = (-2.0, 3.0), (0.8, 0.95)
    said = along(curve, np.array([-2.0, -2.0 - np.log(8), -2.0 - np.log(1e5)]))
    assert said == pytest.approx([4 / 5, 1 / 3, 4e-5 / (1 + 4e-5)])


def test_the_shipped_curve_promises_nothing_of_a_hopeless_plan():
    # As fitted first, on episodes that nearly all went well. Log-odds of -12.2 are a chance of 5e-6: the odds of 0.947 are 17.8, and
    # e^(-12.2 + 4.84) times that is 0.0113. A good plan is promised what episodes of its kind came to.
    curve = (-4.84, 0.09, 1.36, 3.78), (0.947, 0.947, 0.972, 0.972)
    forecasts = [_forecast(bias=bias, episode=(curve, curve)) for bias in (-30.0, -12.2, 3.0)]
    said = [each.judge({'reward': np.array([0.5])}, True)['success'][0] for each in forecasts]
    assert said == pytest.approx([0.0, 0.0112, 0.972], abs=5e-4)


@given(st.lists(st.floats(-40, 40), min_size=2, max_size=20), st.integers(0, 50))
def test_success_rises_with_the_odds_everywhere(odds, seed):
    random = np.random.default_rng(seed)
    curve = fit_curve(random.normal(0, 5, 60), random.random(60) < 0.7)
    said = along(curve, np.sort(odds))
    assert (np.diff(said) >= -1e-12).all() and (said > 0).all() and (said < 1).all()


def test_failures_under_guard_make_the_curve_fall_within_the_data():
    # 40 plans at log-odds 3, 38 of which ended well; 40 hopeless ones at -12, none of which did: (0 + 1) / (10 + 2) in each group.
    odds, happened = np.r_[np.full(40, 3.0), np.full(40, -12.0)], np.r_[np.arange(40) >= 2, np.zeros(40, bool)]
    curve = fit_curve(odds, happened)
    assert along(curve, np.array([-12.0, -20.0])) == pytest.approx([1 / 12, np.exp(-8) / 11], rel=1e-3)
    assert along(curve, np.array([3.0]))[0] == pytest.approx(38 / 40, abs=0.05)


def test_a_table_comes_back_from_a_checkpoint_as_it_was():
    rows = _random(5)
    fitted = fit(rows, rows[:, 0] > 0)
    odds = rows[:, 0]
    fitted = Forecast(fitted.mean, fitted.spread, fitted.weight, fitted.bias, (fit_curve(odds, odds > 0), fit_curve(odds, odds > 1)))
    again = Forecast.read(json.loads(json.dumps({**fitted.table(), 'plans': 400})))
    values = {name: np.array(column) for name, column in VALUES.items()}
    for guarded in (True, False):
        for name, column in fitted.judge(values, guarded).items():
            np.testing.assert_array_equal(again.judge(values, guarded)[name], column)
    assert again.episode == fitted.episode


def test_a_table_of_other_features_is_none():
    table = _forecast().table()
    assert Forecast.read(table) is not None
    for other in (None, {}, {**table, 'features': list(FEATURES)[1:]}, {**table, 'features': list(FEATURES)[::-1]}):
        assert Forecast.read(other) is None


def test_the_curve_by_hand():
    # Two groups of four: of the lower half none happened, of the upper all: (0 + 1) / (4 + 2) and (4 + 1) / (4 + 2), at the medians.
    knots, shares = fit_curve([3.0, 0.0, 1.0, 2.0, 7.0, 4.0, 5.0, 6.0], [False] * 4 + [True] * 4, steps=2)
    assert knots == (1.5, 5.5) and shares == pytest.approx((1 / 6, 5 / 6))


def test_groups_that_fall_are_pooled():
    # All of the lower four happened and none of the upper: what rises least badly is their mean, 3 / 6, everywhere.
    assert fit_curve(np.arange(8.0), [True] * 4 + [False] * 4, steps=2)[1] == pytest.approx((0.5, 0.5))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(40, 300))
def test_the_curve_rises_and_promises_neither_0_nor_1(seed, count):
    random = np.random.default_rng(seed)
    odds = random.normal(size=count)
    knots, shares = fit_curve(odds, random.random(count) < 1 / (1 + np.exp(-3 * odds)))
    assert (np.diff(knots) > 0).all() and (np.diff(shares) >= -1e-12).all()
    assert 0 < shares[0] and shares[-1] < 1


def test_the_curve_calibrates():
    random = np.random.default_rng(0)
    odds = random.normal(0, 2, 8000)
    happened = random.random(8000) < 0.4 + 0.5 / (1 + np.exp(-odds))     # no straight line in log-odds
    curve = fit_curve(odds, happened)
    for low in np.arange(-2.0, 2.0):
        inside = (odds >= low) & (odds < low + 1)
        said = [_forecast(bias=value, episode=(curve, curve)).judge({'reward': np.array([0.5])}, True)['success'] for value in odds[inside][:100]]
        assert np.mean(said) == pytest.approx(happened[inside].mean(), abs=0.05)
