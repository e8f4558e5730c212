"""The command ``chatsessions``: serve a bot without a project, and make a project out of it."""
