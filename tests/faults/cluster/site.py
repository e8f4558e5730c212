"""The site beside the workers, under WSGI: its views tell sessions something from their threads."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.faults.cluster.settings")

# Before anything that imports models.
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402

application = get_wsgi_application()
