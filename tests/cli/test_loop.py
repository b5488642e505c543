"""The loop of `stream run`: what nobody heard is logged, except where somebody did."""

import asyncio
import logging
import socket

import pytest

from stream.cli.loop import new_loop


@pytest.fixture
def unheard(caplog):
    """What is logged of a future, or a task, that ended so and that nobody asked."""

    def unheard(error, of=asyncio.Future):
        async def fail():
            raise error

        async def leave():
            loop = asyncio.get_running_loop()
            future = loop.create_future() if of is asyncio.Future else loop.create_task(fail())
            if of is asyncio.Future:
                future.set_exception(error)
            else:
                await asyncio.wait([future])
            del future

        with caplog.at_level(logging.ERROR, "asyncio"), asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(leave())
        return caplog.text

    return unheard


def test_the_lookup_of_a_connection_that_was_given_up_is_not_worth_a_line(unheard):
    assert unheard(socket.gaierror(-2, "Name or service not known")) == ""


@pytest.mark.parametrize("of", [asyncio.Future, asyncio.Task])
def test_any_other_error_that_nobody_heard_is(unheard, of):
    assert "never retrieved" in unheard(ZeroDivisionError("unheard"), of)


def test_and_so_is_a_task_of_ours_that_failed_to_look_a_name_up(unheard):
    assert "never retrieved" in unheard(socket.gaierror(-2, "Name or service not known"), asyncio.Task)
