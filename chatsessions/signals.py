"""
Django signals, sent in the server's event loop (``asend_robust``) after the change is stored.

``sender`` is the :class:`~chatsessions.handlers.chat.Chat`; every signal has the argument
``session``, a :class:`~chatsessions.handlers.session.Session`. A receiver's error is logged and
changes nothing.
"""

from django.dispatch import Signal

#: A session was created. Arguments: ``session``.
session_started = Signal()
#: A connection was welcomed. Arguments: ``session``, ``resumed`` (bool).
session_connected = Signal()
#: A connection is gone; the session stays. Arguments: ``session``, ``code`` (close code, int).
session_disconnected = Signal()
#: A session is over. Arguments: ``session``, ``reason`` (``user``, ``admin``, ``app``, …).
session_ended = Signal()
#: A turn has ended. Arguments: ``session``, ``turn`` (int), ``name`` (of the event),
#: ``status`` (``done``, ``failed``, ``stopped``, ``interrupted``), ``seconds`` (float).
turn_finished = Signal()
