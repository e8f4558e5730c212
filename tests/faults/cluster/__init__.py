"""Many workers on PostgreSQL and Redis, and what may happen to any of them."""
