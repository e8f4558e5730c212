"""The demo's own tests, which ``manage.py test demo_project`` runs as well."""

from demo_project.tests import (
    AskingTests,
    ContentsTests,
    CounterTests,
    PageTests,
    RequestTests,
    StorytellerTests,
)

__all__ = [
    "AskingTests",
    "ContentsTests",
    "CounterTests",
    "PageTests",
    "RequestTests",
    "StorytellerTests",
]
