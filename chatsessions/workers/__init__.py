"""One server process: the sessions that it holds, how clients get them, and its shutdown."""
