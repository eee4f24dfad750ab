"""Motion between two knots: the linear, cubic and quintic pieces that arm controllers interpolate with."""
import numpy as np


def linear(elapsed_s, duration_s, begin_rad, end_rad):
    """Move at constant velocity between two positions.

    linear(elapsed_s [...], duration_s [...], begin [..., J], end [..., J]) -> position, velocity, acceleration [..., J]
    """
    duration_s = np.asarray(duration_s)[..., None]
    velocity = (end_rad - begin_rad) / duration_s
    return begin_rad + velocity * np.asarray(elapsed_s)[..., None], velocity, np.zeros_like(velocity)


def cubic(elapsed_s, duration_s, begin, end):
    """Match position and velocity at both ends; `begin` and `end` are (position, velocity).

    cubic(elapsed_s [...], duration_s [...], begin (2 of [..., J]), end) -> position, velocity, acceleration [..., J]
    """
    (position, velocity), (end_position, end_velocity) = begin, end
    duration = np.asarray(duration_s)[..., None]
    gap = (end_position - position) / duration                     # mean velocity
    second = (3 * gap - 2 * velocity - end_velocity) / duration
    third = (velocity + end_velocity - 2 * gap) / duration**2
    return _evaluate(np.asarray(elapsed_s)[..., None], (position, velocity, second, third))


def quintic(elapsed_s, duration_s, begin, end):
    """Match position, velocity and acceleration at both ends; `begin` and `end` are (position, velocity, acceleration).

    quintic(elapsed_s [...], duration_s [...], begin (3 of [..., J]), end) -> position, velocity, acceleration [..., J]
    """
    (position, velocity, acceleration), (end_position, end_velocity, end_acceleration) = begin, end
    duration = np.asarray(duration_s)[..., None]
    # What is missing at the end if the begin's acceleration simply went on.
    miss_position = (end_position - position - velocity * duration - acceleration * duration**2 / 2) / duration**3
    miss_velocity = (end_velocity - velocity - acceleration * duration) / duration**2
    miss_acceleration = (end_acceleration - acceleration) / duration
    third = 10 * miss_position - 4 * miss_velocity + miss_acceleration / 2
    fourth = (-15 * miss_position + 7 * miss_velocity - miss_acceleration) / duration
    fifth = (6 * miss_position - 3 * miss_velocity + miss_acceleration / 2) / duration**2
    return _evaluate(np.asarray(elapsed_s)[..., None], (position, velocity, acceleration / 2, third, fourth, fifth))


def quintic_at(knot_s, position, velocity, acceleration, at_s):
    """Sample a quintic spline; before its first and after its last knot it stands still there.

    quintic_at(knot_s [H], position velocity acceleration [H, J], at_s [N]) -> position, velocity, acceleration [N, J]
    """
    return _spline(quintic, knot_s, (position, velocity, acceleration), at_s)


def cubic_at(knot_s, position, velocity, at_s):
    """Sample a cubic Hermite spline; before its first and after its last knot it stands still there.

    cubic_at(knot_s [H], position velocity [H, J], at_s [N]) -> position, velocity, acceleration [N, J]
    """
    return _spline(cubic, knot_s, (position, velocity), at_s)


def _spline(piece, knot_s, knots, at_s):
    knot_s, at_s = np.asarray(knot_s, dtype=np.float64), np.asarray(at_s, dtype=np.float64)
    if len(knot_s) == 1:
        position = np.broadcast_to(knots[0][0], at_s.shape + knots[0][0].shape)
        return position, np.zeros_like(position), np.zeros_like(position)
    index = np.clip(np.searchsorted(knot_s, at_s, side='right') - 1, 0, len(knot_s) - 2)
    elapsed_s = np.clip(at_s, knot_s[0], knot_s[-1]) - knot_s[index]
    begin, end = [tuple(values[index + step] for values in knots) for step in (0, 1)]
    position, velocity, acceleration = piece(elapsed_s, knot_s[index + 1] - knot_s[index], begin, end)
    still = ((at_s < knot_s[0]) | (at_s > knot_s[-1]))[:, None]
    return position, np.where(still, 0.0, velocity), np.where(still, 0.0, acceleration)


def _evaluate(elapsed, coefficients):
    """Evaluate a polynomial and its first two derivatives by Horner's scheme."""
    position = velocity = acceleration = 0.0
    for order in range(len(coefficients) - 1, -1, -1):
        value = coefficients[order]
        position = position * elapsed + value
        if order >= 1:
            velocity = velocity * elapsed + order * value
        if order >= 2:
            acceleration = acceleration * elapsed + order * (order - 1) * value
    return position, velocity, acceleration
