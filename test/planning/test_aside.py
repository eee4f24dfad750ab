"""Work beside a plan: it runs at the same time, raises where it is asked for, and is over before the plan is."""
import threading
import time

import pytest

from diffusion_planner.planning.aside import Aside


def test_it_runs_in_another_thread_while_the_first_goes_on():
    begun = threading.Event()
    with Aside().begin(lambda: begun.wait(5.0) and threading.get_ident()) as inquiry:
        begun.set()                                        # which never comes if begin() waited
        assert inquiry.answer() not in (None, False, threading.get_ident())


def test_what_goes_wrong_is_raised_where_the_answer_is_wanted():
    def fail():
        raise ValueError('no such picture')
    with Aside().begin(fail) as inquiry:
        with pytest.raises(ValueError, match='no such picture'):
            inquiry.answer()


def test_it_is_over_before_whoever_asked_goes_on():
    done = []
    with pytest.raises(KeyError):
        with Aside().begin(lambda: (time.sleep(0.05), done.append(True))):
            raise KeyError
    assert done == [True]


def test_the_thread_is_set_up_once_before_its_first_work():
    told = []
    aside = Aside(lambda: told.append(threading.get_ident()))
    assert not told
    idents = []
    for _ in range(2):
        with aside.begin(threading.get_ident) as inquiry:
            idents.append(inquiry.answer())
    assert told == idents[:1] == idents[1:]
