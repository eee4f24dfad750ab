"""Shipped models imagine the same in either backend; and what does not is told, with the case that shows it."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffusion_planner.evaluation import parity
from diffusion_planner.files import find
from diffusion_planner.runtime import onnx_backend, onnx_files, torch_backend
from diffusion_planner.runtime.checkpoint import read_config

torch.set_num_threads(1)
CASES = 12      # every form with every sampler


def exported():
    """List the shipped models that have graphs: -> names"""
    folder = find('models/panda_reach').parent
    return sorted(path.parent.name for path in folder.glob('*/config.json') if onnx_files.ENTRY in read_config(path.parent))


@pytest.fixture(scope='module')
def pair():
    """-> function of a model's name -> TorchBackend, OnnxBackend; each is loaded once"""
    loaded = {}

    def load(name):
        if name not in loaded:
            folder = find(f'models/{name}')
            robot = SimpleNamespace(joint_names=tuple(read_config(folder)['model']['joint_names']))
            loaded[name] = torch_backend.load_backend(folder, robot), onnx_backend.load_backend(folder, robot)
        return loaded[name]
    return load


class Off:
    """A backend that goes wrong at one stage: by `amount`, for cases of more than `beyond` candidates."""

    def __init__(self, backend, stage, amount, beyond=0):
        self.backend, self.stage, self.amount, self.beyond = backend, stage, amount, beyond

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def imagine_far(self, context, offset_s, *rest):
        return self.backend.imagine_far(context, offset_s, *rest) + (self.amount if self.stage == 'far' and len(offset_s) > self.beyond else 0)

    def fill_in(self, *given):
        return self.backend.fill_in(*given) + (self.amount if self.stage == 'path' else 0)

    def judge_far(self, *given):
        found = self.backend.judge_far(*given)
        return {**found, self.stage: found[self.stage] + self.amount} if self.stage in found else found


def test_the_model_of_the_arm_is_exported():
    assert 'panda_reach' in exported()


@pytest.mark.parametrize('name', exported())
def test_shipped_models_imagine_the_same_in_either_backend(pair, name):
    ticks = []
    worst = parity.check(*pair(name), CASES, seed=11, advance=lambda: ticks.append(1))
    assert len(ticks) == CASES and set(worst) == {'far', 'path', *parity.FIGURES, 'edges'}
    assert 0 < worst['far'] <= parity.LIMIT and 0 < worst['path'] <= parity.LIMIT      # of rounding, and so something


@pytest.mark.parametrize('name', exported())
def test_what_shipped_models_say_of_their_export_is_so(name):
    told = read_config(find(f'models/{name}'))[onnx_files.ENTRY]['parity']
    assert told['limit'] == parity.LIMIT and told['cases'] >= 54 and told['largest_difference'].get('edges', 0) <= parity.EDGES * told['cases']
    assert all(value <= parity.LIMIT for what, value in told['largest_difference'].items() if what != 'edges')


@pytest.mark.parametrize('stage', ['far', 'path', *parity.FIGURES])
def test_a_backend_that_is_off_is_refused_with_where_and_by_how_much(pair, stage):
    one, other = pair('panda_reach')
    said = rf'^{stage}: backends differ by [12]\.\de-02, expected at most 0\.0001 .*form clean, sampler multistep, .* seed 0$'
    with pytest.raises(parity.Different, match=said):
        parity.check(one, Off(other, stage, 0.01), 1)


def test_what_is_no_number_is_a_difference(pair):
    one, other = pair('panda_reach')
    with pytest.raises(parity.Different, match='^path: backends differ by nan'):
        parity.check(one, Off(other, 'path', np.nan), 1)


def test_one_bad_case_among_many_is_found(pair):
    one, other = pair('panda_reach')
    largest = max(len(case.offset_s) for case in parity.cases(one, CASES, 11))
    with pytest.raises(parity.Different, match=rf'^far: .*{largest} candidates'):
        parity.check(one, Off(other, 'far', 0.01, beyond=largest - 1), CASES, seed=11)


def test_a_backend_is_the_same_as_itself_and_is_left_as_it_was(pair):
    one, _ = pair('panda_reach')
    drawn = one.noise(3, 2).clone()
    assert not any(parity.check(one, one, 2).values())
    case = next(parity.cases(one, 1))
    own = parity.sensitivity(one, case)
    assert 0 < own['far'] < parity.LIMIT and 0 < own['path'] < parity.LIMIT and torch.equal(one.noise(3, 2), drawn)


def test_cases_that_rounding_turns_are_left_out_while_they_are_few(pair, monkeypatch):
    one, other = pair('panda_reach')
    monkeypatch.setattr(parity, 'sensitivity', lambda *_: {name: 0.01 for name in ('far', 'path', *parity.FIGURES)})
    off = Off(other, 'far', 0.02)
    with pytest.raises(parity.Different, match='^2 of 2 cases change as much with rounding, expected at most 10%: too few to compare$'):
        parity.check(one, off, 2)
    monkeypatch.setattr(parity, 'EDGES', 1.0)
    assert parity.check(one, off, 2) == {'edges': 2}      # whose differences are none of the largest
    with pytest.raises(parity.Different, match='^far: '):
        parity.check(one, Off(other, 'far', 0.05), 2)


def test_cases_are_of_every_kind_and_come_again(pair):
    one, other = pair('panda_reach')
    drawn = list(parity.cases(one, 36, seed=2))
    assert {(case.settings.guidance_form, case.settings.sampler) for case in drawn[:9]} == {(form, kind) for form in parity.FORMS for kind in parity.SAMPLERS}
    for kinds in ([case.settings.guard for case in drawn], [case.warm for case in drawn], [bool(case.goal.guidance_scale) for case in drawn],
                  [bool(case.observation.level.any()) for case in drawn], [bool(case.observation.picture_level.any()) for case in drawn]):
        assert set(kinds) == {True, False}
    for sizes in ([len(case.offset_s) for case in drawn], [len(case.chosen) for case in drawn], [case.settings.fill_in for case in drawn]):
        assert len(set(sizes)) > 4
    assert [str(case) for case in parity.cases(other, 36, seed=2)] == [str(case) for case in drawn] != [str(case) for case in parity.cases(one, 36, seed=3)]
