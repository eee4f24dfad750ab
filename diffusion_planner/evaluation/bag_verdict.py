"""The verdict: a few checks with a threshold each, and a sentence for the engineer who must decide."""
ORDER = ('ok', 'unknown', 'warn', 'bad')
FEWEST = 10      # instants that a check must stand on


def verdict(report):
    """Check a report's sections: -> {'level', 'sentence', 'checks': [{'name', 'title', 'level', 'value', 'warn', 'bad', 'unit', 'better', 'sentence'}]}"""
    checks = [check(report) for check in CHECKS]
    worst = max((check['level'] for check in checks), key=ORDER.index)
    said = {'ok': 'Nothing here speaks against this model on this arm: go on with shadow mode on the arm itself, then a speed scale of 0.2.',
            'unknown': 'What could be checked is well, but the bag does not tell all: see what is unknown before anything moves.',
            'warn': 'Look at the warnings before anything moves: the model is near the edge of what it knows here.',
            'bad': 'Do not let this model move this arm: at least one check failed.'}
    return {'about': 'Each check compares one figure of this report with two thresholds, beyond which it is a warning or a failure.',
            'level': worst, 'sentence': said[worst], 'checks': checks}


def _check(name, title, value, limits, unit, sentences, n, higher=False, fewest=FEWEST):
    """Grade a figure of n instants: beyond the first limit it is a warning, beyond the second a failure; of too few it says nothing.

    higher: the higher, the better.
    """
    warn, bad = limits
    beyond = [value is not None and (value < limit if higher else value > limit) for limit in limits]
    level = 'unknown' if value is None or n < fewest else 'bad' if beyond[1] else 'warn' if beyond[0] else 'ok'
    sentence = f'Too few to say: {n}, expected at least {fewest}.' if value is not None and n < fewest else sentences[level]
    return {'name': name, 'title': title, 'level': level, 'value': value, 'warn': warn, 'bad': bad, 'unit': unit,
            'better': 'higher' if higher else 'lower', 'sentence': sentence, 'n': n}


def _first(values):
    """The figure itself of [value, low, high]."""
    return None if values is None else values[0]


def _way(report):
    told = report['motion']['told_arrival']
    row = next((row for row in told['against_smooth'] if row['offset_s'] == 0.5), None)
    value = _first(row['ratio']) if row else None
    said = {'unknown': f'The bag never shows {told["arrival_s"]:g} s of motion in one piece, so the imagined way could not be held against it.'}
    known = (f'Told where the arm went, the model is {value:.2f} times as far from its way half a second on as the smoothest curve between the two ends.'
             if value is not None else '')
    return _check('way', 'Way between two known instants, against a smooth curve', value, (1.1, 2.0), 'ratio of rms errors at 0.5 s',
                  said | dict.fromkeys(('ok', 'warn', 'bad'), known), row['n'] if row else 0)


def _typical(report):
    found = report['typicality']['executed']
    value = _first(found['outside'])
    said = {'ok': 'The arm moves as in the recordings that the model was trained on.',
            'warn': 'Some motion in this bag is unlike what the model was trained on.',
            'bad': 'The motion in this bag is unlike what the model was trained on: train on this arm first.',
            'unknown': 'Nothing in the bag could be judged.'}
    return _check('typicality', 'Executed motion outside what is typical', value, (0.1, 0.3), 'share above the held-out 99 % quantile', said, found['n'])


def _scene(report):
    value = _first(report['scene']['alarm'])
    said = {'ok': 'The pictures look like those of training.',
            'warn': 'Some pictures look unlike those of training: light, background or camera may have changed.',
            'bad': 'The pictures look unlike those of training: the model does not know what it sees.', 'unknown': 'This model cannot tell strange scenes.'}
    return _check('scene', 'Pictures that raise an alarm', value, (0.05, 0.2), 'share of the instants', said, report['plans']['due'])


def _calibration(report):
    judge = report['reward']['heads']['judge']['all']
    said = {'ok': 'The judge foretells the reward in this bag and says honestly how sure it is.',
            'warn': 'Predicted reward is off by some: do not take it at its word.',
            'bad': 'Predicted reward does not mean reward here: plans would go to the wrong place, and be sure of it.',
            'unknown': 'The bag says nothing about reward, so its prediction could not be checked.'}
    return _check('calibration', 'Calibration of predicted reward', judge['ece'], (0.05, 0.15), 'expected calibration error', said, judge['n'])


def _ranking(report):
    judge = report['reward']['heads']['judge']['all']
    said = {'ok': 'The judge ranks rewarded instants above the others.', 'warn': 'The judge confuses some rewarded instants with others.',
            'bad': 'The judge can hardly tell rewarded instants from others.',
            'unknown': 'Reward never came, or never went, so whether the judge can tell could not be checked.'}
    return _check('ranking', 'Rewarded instants told from others', judge['roc_area'], (0.9, 0.75), 'ROC area', said, judge['n'], higher=True)


def _refusals(report):
    found = report['refusals']
    said = {'ok': 'The planner finds a plan nearly everywhere.', 'warn': 'The planner often has no plan; the arm would stop there.',
            'bad': 'The planner has no plan most of the time; see the reasons.', 'unknown': 'No plan was ever due.'}
    return _check('refusals', 'Instants without a plan', _first(found['share']), (0.1, 0.5), 'share of the instants', said, found['instants'])


def _chunks(report):
    found = report['limits']['chunks']
    value = found['beyond'] if found['count'] else None
    said = {'ok': "Every chunk keeps the robot's limits at every instant.", 'bad': "Chunks break the robot's limits: that is a defect, report it.",
            'unknown': 'No chunk was made.', 'warn': ''}
    return _check('chunks', 'Chunks beyond the limits', value, (0, 0), 'chunks', said, found['count'], fewest=1)


def _executed(report):
    found = report['limits']['executed']
    value = max(found[name]['share'] for name in ('position', 'velocity')) if found['readings'] else None
    said = {'ok': 'What was measured is within the limits of the robot file.',
            'warn': 'Some readings are beyond the limits of the robot file: is it the right one?',
            'bad': 'Many readings are beyond the limits of the robot file: it is not that of this arm, or units differ.',
            'unknown': 'No joint state could be used.'}
    return _check('executed', 'Measured motion beyond the limits', value, (0.0, 0.01), 'share of the readings', said, found['readings'], fewest=1)


def _pictures(report):
    ages = [row['p95'] for row in report['health']['picture_age_s'].values() if row]
    said = {'ok': 'Pictures are fresh when plans are made.', 'warn': 'Pictures are older than the model was trained for: it counts them for less.',
            'bad': 'Pictures are so old that they count for little.', 'unknown': 'No picture was ever there.'}
    return _check('picture_age', 'Age of the newest picture', max(ages, default=None), (0.5, 1.0), 's, 95 % quantile', said, report['plans']['due'])


CHECKS = (_way, _typical, _scene, _calibration, _ranking, _refusals, _chunks, _executed, _pictures)
