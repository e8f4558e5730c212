"""The command ``chatsessions``, as a user calls it: real processes in folders of their own."""
