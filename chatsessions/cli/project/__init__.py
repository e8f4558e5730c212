"""The Django project that ``chatsessions run`` serves bots in."""
