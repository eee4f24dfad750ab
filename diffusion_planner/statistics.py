"""Statistics that training and evaluation share."""
import numpy as np


def roc_area(score, positive):
    """Area under the receiver operating characteristic: roc_area(score [N], positive [N] bool) -> 0 to 1, ties count half

    The chance that a positive scores above a negative (Mann and Whitney 1947); nan where one kind is missing.
    """
    score, positive = np.asarray(score, float), np.asarray(positive, bool)
    rest = np.sort(score[~positive])
    if not len(rest) or not positive.any():
        return float('nan')
    below = np.searchsorted(rest, score[positive], 'left') + np.searchsorted(rest, score[positive], 'right')
    return float(below.mean() / (2 * len(rest)))
