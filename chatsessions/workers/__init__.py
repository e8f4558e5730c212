"""One server process: what it holds, who gets which session, and how it ends."""
