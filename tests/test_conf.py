"""The settings: each default is allowed, each value is read and checked at use."""

import re
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from chatsessions.conf import Problem, Setting, Settings, settings

ALL = list(Settings.all())
NUMBERS = [each for each in ALL if type(each.default) in (int, float)]
WHOLE_NUMBERS = [each for each in NUMBERS if each.allowed.startswith("a whole number")]


def named(some: list[Setting[Any]]) -> list[Any]:
    return [pytest.param(each, id=each.name) for each in some]


def problems(**values: object) -> list[Problem]:
    with override_settings(CHATSESSIONS=values):
        return list(settings.problems())


@pytest.mark.parametrize("setting", named(ALL))
def test_every_default_passes_its_own_check(setting: Setting[Any]) -> None:
    assert setting.accepts(setting.default)
    with override_settings(CHATSESSIONS={setting.name: setting.default}):
        assert getattr(settings, setting.name) == setting.default
    with override_settings(CHATSESSIONS={}):
        assert getattr(settings, setting.name) == setting.default


@pytest.mark.parametrize("setting", named(ALL))
def test_every_setting_says_what_it_is_for(setting: Setting[Any]) -> None:
    assert setting.name.isupper()
    assert setting.doc.endswith((".", ")."))


@pytest.mark.parametrize("setting", named(ALL))
def test_none_and_lists_are_refused_everywhere(setting: Setting[Any]) -> None:
    assert not setting.accepts(None)
    assert not setting.accepts([setting.default])


@pytest.mark.parametrize("value", [True, False, "5", 0, -1, float("nan"), float("inf"), 1j])
@pytest.mark.parametrize("setting", named(NUMBERS))
def test_what_is_no_number_above_0_is_refused(setting: Setting[Any], value: object) -> None:
    (problem,) = problems(**{setting.name: value})
    assert problem.name == setting.name
    assert repr(value) in problem.message
    assert repr(setting.default) in problem.hint


@pytest.mark.parametrize("setting", named(WHOLE_NUMBERS))
def test_a_count_is_whole(setting: Setting[Any]) -> None:
    assert not setting.accepts(float(setting.default))
    assert setting.accepts(setting.default + 1)


def test_a_time_may_be_a_fraction() -> None:
    assert problems(WORKER_HEARTBEAT=0.25, EVENTS_PER_SECOND=0.5) == []


def test_a_count_may_have_a_minimum_of_its_own() -> None:
    assert problems(MAX_LOG_ENTRIES=10) == []
    (problem,) = problems(MAX_FRAME_BYTES=1023)
    assert problem.message == (
        "CHATSESSIONS['MAX_FRAME_BYTES'] is 1023, which is not a whole number of at least 1,024."
    )


@pytest.mark.parametrize("value", [0, 1, "yes"])
def test_a_flag_is_true_or_false(value: object) -> None:
    (problem,) = problems(HANDLE_SIGTERM=value)
    assert "not True or False" in problem.message
    assert problems(HANDLE_SIGTERM=False) == []


def test_a_text_is_not_empty() -> None:
    (problem,) = problems(CACHE="")
    assert "a non-empty string" in problem.hint


def test_a_choice_names_the_choices() -> None:
    (problem,) = problems(USER_SESSION_STORE="db")
    assert problem.message.startswith("CHATSESSIONS['USER_SESSION_STORE'] is 'db', which is not '")
    assert " or '" in problem.hint


def test_override_settings_takes_effect_at_once() -> None:
    before = settings.SESSION_AGE
    with override_settings(CHATSESSIONS={"SESSION_AGE": 5}):
        assert settings.SESSION_AGE == 5
        with override_settings(CHATSESSIONS={}):
            assert Settings.SESSION_AGE.default == settings.SESSION_AGE
        assert settings.SESSION_AGE == 5
    assert before == settings.SESSION_AGE


def test_without_the_dict_every_default_holds() -> None:
    with override_settings():
        del django_settings.CHATSESSIONS
        assert settings.CACHE == "default"
        assert list(settings.problems()) == []


def test_an_ill_typed_value_raises_where_it_is_read() -> None:
    said = (
        "CHATSESSIONS['KEEP'] is 'long', which is not a number of seconds above 0 and below a "
        "century. "
        "Write a number of seconds above 0 and below a century; the default is 1209600."
    )
    with (
        override_settings(CHATSESSIONS={"KEEP": "long"}),
        pytest.raises(ImproperlyConfigured, match=f"^{re.escape(said)}$"),
    ):
        _ = settings.KEEP


def test_one_bad_value_leaves_the_others_readable() -> None:
    with override_settings(CHATSESSIONS={"KEEP": "long", "CACHE": "chats"}):
        assert settings.CACHE == "chats"


@pytest.mark.parametrize("given", [None, [], "CACHE", 1])
def test_what_is_no_dict_raises_and_says_what_to_write(given: object) -> None:
    said = f"CHATSESSIONS is {given!r}, which is not a dict. Write CHATSESSIONS = {{...}}."
    with override_settings(CHATSESSIONS=given):
        with pytest.raises(ImproperlyConfigured, match=re.escape(said)):
            _ = settings.CACHE
        with pytest.raises(ImproperlyConfigured, match=re.escape(said)):
            list(settings.problems())


@pytest.mark.parametrize(
    ("name", "near"),
    [("SESION_AGE", "SESSION_AGE"), ("cache", "CACHE"), ("WORKER_STAIL", "WORKER_STALE")],
)
def test_an_unknown_name_suggests_a_near_one(name: str, near: str) -> None:
    (problem,) = problems(**{name: 1})
    assert problem.message == f"CHATSESSIONS has no setting {name!r}."
    assert problem.hint == f"Did you mean {near!r}?"


def test_a_name_like_none_gets_the_whole_list() -> None:
    (problem,) = problems(XYZZY=1)
    assert problem.hint.startswith("There are: CACHE, DATABASE, ")
    assert all(each.name in problem.hint for each in ALL)


def test_a_key_that_is_no_string_is_unknown() -> None:
    with override_settings(CHATSESSIONS={7: 1}):
        (problem,) = settings.problems()
    assert problem.message == "CHATSESSIONS has no setting 7."


def test_a_setting_itself_is_read_from_the_class() -> None:
    assert Settings.CACHE.default == "default"
    assert Settings.CACHE.name == "CACHE"


def test_problems_come_in_the_order_written() -> None:
    assert [each.name for each in problems(KEEP=0, NOPE=1, CACHE="")] == ["KEEP", "NOPE", "CACHE"]
